// The structures by name take exactly the options that they name.
#include <gtest/gtest.h>

#include "tenon/error.h"
#include "tenon/map.h"

namespace tenon::map {
namespace {

TEST(Structures, TakeWhatTheySay) {
    const random::Key key(1);
    EXPECT_EQ(structures().size(), 6u);
    for (const NamedStructure& s : structures()) {
        const auto takes = [&](const Options& options) {
            try {
                return random(s.name, key, 16, 16, options).shape() == Shape({16, 16});
            } catch (const ValueError&) {
                return false;
            }
        };
        EXPECT_TRUE(takes({})) << s.name;
        EXPECT_EQ(takes({.rank = 2}), s.has_rank) << s.name;
        EXPECT_EQ(takes({.blocks = 2}), s.has_blocks) << s.name;
    }
    EXPECT_THROW(random("spam", key, 16, 16), ValueError);
}

}  // namespace
}  // namespace tenon::map
