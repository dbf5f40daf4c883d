// Checkpoints: trees to files and back.
#include "tenon/io.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "io/file.h"
#include "io/safetensors.h"
#include "tenon/error.h"

namespace tenon {
namespace {

class CheckpointFile : public testing::Test {
  protected:
    void SetUp() override { path_ = testing::TempDir() + std::to_string(::getpid()) + "io_test.safetensors"; }
    void TearDown() override { std::filesystem::remove(path_); }
    std::string path_;
};

std::vector<std::string> names(const Tree& tree) {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tree.flatten()) all.push_back(name);
    return all;
}

TEST_F(CheckpointFile, RoundTrip) {
    const Tree up(std::vector<Tree::Child>{{"weight", Tensor::from<float>({1, -2, 0.5f, 4}, {2, 2})},
                                           {"bias", Tensor::from<double>({1e300})}});
    const Tree tree(std::vector<Tree::Child>{{"step", Tensor::from<std::int64_t>({1 << 20}, {})},
                                             {"block0", std::vector<Tree::Child>{{"up", up}}},
                                             {"mask", Tensor::from<std::uint8_t>({}, {0, 3})}});
    save(path_, {tree, {{"epoch", "3"}, {"note", "\xc3\xa9\n"}}});
    const auto loaded = load(path_);
    EXPECT_EQ(loaded.metadata, (std::map<std::string, std::string>{{"epoch", "3"}, {"note", "\xc3\xa9\n"}}));
    EXPECT_EQ(names(loaded.tensors), (std::vector<std::string>{"block0.up.bias", "block0.up.weight", "mask", "step"}));
    EXPECT_EQ(loaded.tensors["block0"]["up"]["weight"].tensor().to<float>(), (std::vector<float>{1, -2, 0.5f, 4}));
    EXPECT_EQ(loaded.tensors["block0.up.bias"].tensor().item<double>(), 1e300);
    EXPECT_EQ(loaded.tensors["mask"].tensor().shape(), Shape({0, 3}));
    EXPECT_EQ(loaded.tensors["step"].tensor().dtype(), DType::int64);

    const auto restored = restore(tree, loaded.tensors);
    EXPECT_EQ(names(restored), names(tree));
    EXPECT_EQ(restored["step"].tensor().item<std::int64_t>(), 1 << 20);

    const auto bytes = read_file(path_);
    save(path_, loaded);
    EXPECT_EQ(read_file(path_), bytes);
}

TEST_F(CheckpointFile, StridedTensorsAreStoredRowMajor) {
    const std::array<std::int16_t, 6> memory = {1, 2, 3, 4, 5, 6};
    const auto wrap = [&](const Layout& layout) {
        return Tensor::wrap(const_cast<std::int16_t*>(memory.data()), DType::int16, layout, [] {});
    };
    const Tree tree(std::vector<Tree::Child>{{"transposed", wrap(Layout::contiguous({2, 3}).transpose({1, 0}))},
                                             {"broadcast", wrap(Layout::contiguous({3}).broadcast({2, 3}))}});
    save(path_, {tree, {}});
    const auto loaded = load(path_).tensors;
    EXPECT_EQ(loaded["transposed"].tensor().to<int>(), (std::vector<int>{1, 4, 2, 5, 3, 6}));
    EXPECT_EQ(loaded["broadcast"].tensor().to<int>(), (std::vector<int>{1, 2, 3, 1, 2, 3}));
}

TEST_F(CheckpointFile, LoneTensorAndEmptyTree) {
    save(path_, {Tensor::from<std::int32_t>({5, 6}), {}});
    EXPECT_EQ(load(path_).tensors.tensor().to<int>(), (std::vector<int>{5, 6}));
    save(path_, {});
    EXPECT_TRUE(load(path_).tensors.flatten().empty());
}

TEST_F(CheckpointFile, NamesSurviveWhateverTheirDots) {
    std::string deep = "d";
    for (int i = 0; i < 30'000; ++i) deep += ".d";
    const std::vector<std::string> all = {"",     ".",   "..",    ".a",  "a",   "a-b",   "a.",
                                          "a..b", "a.b", "a.b.c", "b.-", "b..", "b.c.d", deep};
    std::vector<SafetensorsTensor> tensors;
    for (std::size_t i = 0; i < all.size(); ++i)
        tensors.push_back({all[i], DType::uint8, {1}, std::as_bytes(std::span("0123456789abcdef")).subspan(i, 1)});
    write_safetensors(path_, tensors, {});
    const auto tree = load(path_).tensors;
    auto found = names(tree);
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, all);
    for (std::size_t i = 0; i < all.size(); ++i)
        EXPECT_EQ(tree[all[i]].tensor().item<int>(), "0123456789abcdef"[i]) << all[i];
}

TEST_F(CheckpointFile, PartsOfANameBecomeChildren) {
    const std::byte element{7};
    const auto loaded = [&](const std::string& name) {
        write_safetensors(path_, {{name, DType::uint8, {1}, {&element, 1}}}, {});
        return load(path_).tensors;
    };
    for (const char* whole : {".a", "a.", "a..b"}) EXPECT_EQ(loaded(whole).children()[0].first, whole);
    // Of 70 parts the first 63, and the rest as one name.
    std::string name = "p";
    for (int i = 1; i < 70; ++i) name += ".p";
    Tree tree = loaded(name);
    for (int depth = 1; depth < 64; ++depth) {
        ASSERT_EQ(tree.children()[0].first, "p") << depth;
        const Tree child = tree.children()[0].second;
        tree = child;
    }
    EXPECT_EQ(tree.children()[0].first, "p.p.p.p.p.p.p");
    EXPECT_TRUE(tree.children()[0].second.is_leaf());
}

TEST_F(CheckpointFile, Refusals) {
    const auto one = Tensor::from<float>({1});
    EXPECT_THROW(save("/nowhere/x", {one, {}}), FileError);
    EXPECT_THROW(save(path_, {one, {{"xxh3:a", ""}}}), ValueError);
    EXPECT_THROW(save(path_, {Tree(std::vector<Tree::Child>{{"\xff", one}}), {}}), ValueError);
    // Two ways to one path.
    const Tree inner(std::vector<Tree::Child>{{"b", one}});
    EXPECT_THROW(save(path_, {Tree(std::vector<Tree::Child>{{"a.b", one}, {"a", inner}}), {}}), FileError);
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_THROW(load(path_), FileError);

    const auto like = [&](const Tensor& t) { return Tree(std::vector<Tree::Child>{{"a", t}}); };
    EXPECT_THROW(restore(like(one), Tree()), ValueError);
    EXPECT_THROW(restore(Tree(), like(one)), ValueError);
    EXPECT_THROW(restore(like(one), like(Tensor::from<float>({1, 2}))), ShapeError);
    EXPECT_THROW(restore(like(one), like(Tensor::from<double>({1}))), TypeError);
}

}  // namespace
}  // namespace tenon
