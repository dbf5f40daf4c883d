#include "cuda/compiler.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cuda/driver.h"
#include "cuda/embedded.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDouble = R"(extern "C" __global__ void twice(float* x, long long n) {
    const long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i < n) x[i] += x[i];
})";

/// A cache of its own, gone at the end.
class CompilerTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
        std::string name = (fs::temp_directory_path() / "tenon-cubins-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        root = name;
        directory = root / "cubins";
        setenv("TENON_CUBINS", directory.c_str(), 1);
    }
    void TearDown() override {
        unsetenv("TENON_CUBINS");
        if (!root.empty()) fs::remove_all(root);
    }
    std::vector<fs::path> files() const {
        std::vector<fs::path> all;
        if (fs::exists(directory))
            for (const auto& f : fs::directory_iterator(directory)) all.push_back(f.path());
        return all;
    }
    fs::path root, directory;
};

TEST_F(CompilerTest, CompilesForEveryArchitecture) {
    for (const char* architecture : {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120"}) {
        const Compiled c = compile({"twice.cu", kDouble}, architecture);
        EXPECT_EQ(c.cubin.substr(1, 3), "ELF") << architecture;
        EXPECT_FALSE(c.cached);
    }
}

TEST_F(CompilerTest, SecondTimeComesFromTheDisk) {
    const Unit u{"twice.cu", kDouble};
    const Compiled first = compile(u, "sm_90a"), second = compile(u, "sm_90a");
    EXPECT_FALSE(first.cached);
    EXPECT_TRUE(second.cached);
    EXPECT_EQ(first.cubin, second.cubin);
    EXPECT_EQ(files().size(), 1u);
}

TEST_F(CompilerTest, TheKeyHasTextOptionsAndArchitecture) {
    compile({"twice.cu", kDouble}, "sm_90a");
    EXPECT_FALSE(compile({"twice.cu", std::string(kDouble) + "\n"}, "sm_90a").cached);
    EXPECT_FALSE(compile({"twice.cu", kDouble, {"-DX"}}, "sm_90a").cached);
    EXPECT_FALSE(compile({"twice.cu", kDouble}, "sm_80").cached);
    EXPECT_EQ(files().size(), 4u);
}

TEST_F(CompilerTest, ABrokenEntryIsIgnoredAndReplaced) {
    const Unit u{"twice.cu", kDouble};
    const std::string good = compile(u, "sm_80").cubin;
    const fs::path file = files().at(0);
    const auto size = fs::file_size(file);
    for (const std::uintmax_t cut : {std::uintmax_t{0}, std::uintmax_t{10}, size / 2, size - 1}) {
        fs::resize_file(file, cut);
        const Compiled again = compile(u, "sm_80");
        EXPECT_FALSE(again.cached) << cut;
        EXPECT_EQ(again.cubin, good);
    }
    std::fstream(file, std::ios::in | std::ios::out | std::ios::binary)
        .seekp(static_cast<std::streamoff>(size / 2))
        .put('\7');
    EXPECT_FALSE(compile(u, "sm_80").cached);
    EXPECT_TRUE(compile(u, "sm_80").cached);
}

TEST_F(CompilerTest, TheDirectoryIsPrivate) {
    compile({"twice.cu", kDouble}, "sm_80");
    EXPECT_EQ(fs::status(directory).permissions(), fs::perms::owner_all);
    fs::permissions(directory, fs::perms::group_write, fs::perm_options::add);
    EXPECT_FALSE(compile({"twice.cu", kDouble}, "sm_80").cached) << "others could have written it";
}

TEST_F(CompilerTest, NoCacheWhereTheVariableIsEmpty) {
    setenv("TENON_CUBINS", "", 1);
    EXPECT_FALSE(compile({"twice.cu", kDouble}, "sm_80").cached);
    EXPECT_FALSE(compile({"twice.cu", kDouble}, "sm_80").cached);
    EXPECT_TRUE(files().empty());
}

TEST_F(CompilerTest, MessagesNameTheUnitAndTheLine) {
    try {
        compile({"wrong.cu", "extern \"C\" __global__ void f() {\n    undeclared = 1;\n}\n"}, "sm_80");
        FAIL();
    } catch (const ValueError& e) {
        EXPECT_NE(std::string(e.what()).find("wrong.cu(2)"), std::string::npos) << e.what();
        EXPECT_NE(std::string(e.what()).find("undeclared"), std::string::npos) << e.what();
    }
    EXPECT_TRUE(files().empty());
    EXPECT_THROW(compile({"twice.cu", kDouble}, "sm_1"), ValueError);
}

TEST_F(CompilerTest, TheTapesArithmeticCompiles) {
    constexpr const char* kText = R"(#include "tape/operations.h"
using namespace tenon::tape;
extern "C" __global__ void all(float* x, double* y, int* z) {
    x[0] = baseline::unary<Opcode::erf>(x[0]) + baseline::binary<Opcode::pow>(x[1], x[2]) + baseline::sin_small(x[3]);
    y[0] = baseline::unary<Opcode::logistic>(y[0]) + baseline::binary<Opcode::floor_divide>(y[1], y[2]);
    z[0] = baseline::binary<Opcode::remainder>(z[0], z[1]);
})";
    for (const char* architecture : {"sm_80", "sm_90a", "sm_100", "sm_120"})
        EXPECT_FALSE(compile({"all.cu", kText}, architecture).cubin.empty());
}

TEST(EmbeddedTest, SourcesAreFoundByName) {
    EXPECT_NE(source("tape/math.h").find("expm1_reduced"), std::string_view::npos);
    EXPECT_THROW(source("tape/nothing.h"), ValueError);
}

TEST(ArchitectureTest, Names) {
    EXPECT_EQ(architecture_name(8, 0), "sm_80");
    EXPECT_EQ(architecture_name(9, 0), "sm_90a");
    EXPECT_EQ(architecture_name(12, 0), "sm_120");
}

}  // namespace
}  // namespace tenon::cuda
