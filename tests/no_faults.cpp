// Part of every test program: no graph ran node by node because of a fault of the compiler, which otherwise only costs
// time.
#include <gtest/gtest.h>

#include "schedule/evaluate.h"
#include "schedule/faults_testing.h"

namespace tenon::schedule::testing {
namespace {

class NoFaults : public ::testing::Environment {
    void TearDown() override { EXPECT_EQ(statistics().faults, expected_faults) << "faults of the compiler"; }
};

const ::testing::Environment* const registered = ::testing::AddGlobalTestEnvironment(new NoFaults);

}  // namespace
}  // namespace tenon::schedule::testing
