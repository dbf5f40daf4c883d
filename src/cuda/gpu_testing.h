// The base of tests that need a GPU: they are skipped, with the reason, if there is none.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cuda/device.h"
#include "cuda/driver.h"
#include "tenon/error.h"

namespace tenon::cuda::testing {

/// Empty if cuda:0 can be used.
inline std::string gpu_absent() {
    try {
        Gpu::at(0);
        return {};
    } catch (const Error& e) {
        return e.what();
    }
}

class GpuTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string absent = gpu_absent();
        if (!absent.empty()) GTEST_SKIP() << absent;
    }
};

}  // namespace tenon::cuda::testing
