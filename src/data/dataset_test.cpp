// Image data sets on disk: Fashion-MNIST itself, and directories that are not what they should be.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "io/file.h"
#include "tenon/data.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using namespace std::string_literals;
namespace fs = std::filesystem;

class ImageDatasetFiles : public testing::Test {
  protected:
    void SetUp() override {
        directory_ = testing::TempDir() + "tenon_dataset_test_" + std::to_string(::getpid());
        fs::create_directory(directory_);
        for (const auto* prefix : {"train", "t10k"}) {
            put(prefix + "-images-idx3-ubyte"s, "\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\3abcdef"s);
            put(prefix + "-labels-idx1-ubyte"s, "\0\0\x08\1\0\0\0\2\0\x09"s);
        }
    }
    void TearDown() override { fs::remove_all(directory_); }
    void put(const std::string& name, const std::string& content) const {
        const auto piece = std::as_bytes(std::span(content));
        write_file_atomically(directory_ + "/" + name, {&piece, 1});
    }
    void expect_refused(const std::string& rule) const {
        try {
            load_image_dataset(directory_);
            ADD_FAILURE() << rule << ": accepted";
        } catch (const FileError& error) {
            EXPECT_NE(std::string(error.what()).find(rule), std::string::npos) << error.what();
            EXPECT_TRUE(std::string(error.what()).starts_with(directory_)) << error.what();
        }
    }

    std::string directory_;
};

TEST_F(ImageDatasetFiles, AreRead) {
    const auto data = load_image_dataset(directory_);
    EXPECT_EQ(data.train.images.shape(), Shape({2, 1, 3}));
    EXPECT_EQ(data.test.images.to<std::uint8_t>(), (std::vector<std::uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
    EXPECT_EQ(data.test.labels.to<std::int64_t>(), (std::vector<std::int64_t>{0, 9}));
}

TEST_F(ImageDatasetFiles, AreRefusedByName) {
    put("train-labels-idx1-ubyte", "\0\0\x08\1\0\0\0\2\0\x0a"s);
    expect_refused("train-labels-idx1-ubyte: label 10 at position 1 is not 0 to 9");
    put("train-labels-idx1-ubyte", "\0\0\x08\1\0\0\0\3\0\1\2"s);
    expect_refused("train-labels-idx1-ubyte: 3 labels for the 2 images of ");
    put("train-labels-idx1-ubyte", "\0\0\x09\1\0\0\0\2\0\1"s);
    expect_refused("train-labels-idx1-ubyte: (2,) int8 is not labels");
    put("train-labels-idx1-ubyte", "\0\0\x08\1\0\0\0\2\0"s);
    expect_refused("train-labels-idx1-ubyte: truncated");
    put("train-labels-idx1-ubyte", "\0\0\x08\1\0\0\0\2\0\1"s);
    put("t10k-images-idx3-ubyte", "\0\0\x08\3\0\0\0\2\0\0\0\3\0\0\0\1abcdef"s);
    expect_refused(": train images (2, 1, 3) and test images (2, 3, 1) differ in size");
    put("t10k-images-idx3-ubyte", "\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\2abcd"s);
    expect_refused(": train images (2, 1, 3) and test images (2, 1, 2) differ in size");
    put("t10k-images-idx3-ubyte", "\0\0\x08\3\0\0\0\2\0\0\0\2\0\0\0\3abcdefghijkl"s);
    expect_refused(": train images (2, 1, 3) and test images (2, 2, 3) differ in size");
    put("t10k-images-idx3-ubyte", "\0\0\x08\3\0\0\0\0\0\0\0\1\0\0\0\3"s);
    expect_refused("t10k-images-idx3-ubyte: (0, 1, 3) uint8 is not images");
    put("t10k-images-idx3-ubyte", "\0\0\x08\1\0\0\0\2ab"s);
    expect_refused("t10k-images-idx3-ubyte: (2,) uint8 is not images");
    put("t10k-images-idx3-ubyte", "gunk"s);
    expect_refused("t10k-images-idx3-ubyte: not an IDX file");
    fs::remove(directory_ + "/t10k-images-idx3-ubyte");
    expect_refused("t10k-images-idx3-ubyte: no such file");
    fs::remove_all(directory_);
    expect_refused(": no such directory");
}

TEST(FashionMnist, DirectoryCanBeChosen) {
    ::unsetenv("TENON_FASHION_MNIST");
    EXPECT_EQ(fashion_mnist_directory(), "/usr/share/datasets/fashion-mnist");
    ::setenv("TENON_FASHION_MNIST", "/elsewhere", 1);
    EXPECT_EQ(fashion_mnist_directory(), "/elsewhere");
    ::setenv("TENON_FASHION_MNIST", "", 1);
    EXPECT_EQ(fashion_mnist_directory(), "/usr/share/datasets/fashion-mnist");
    ::unsetenv("TENON_FASHION_MNIST");
}

TEST(FashionMnist, IsWhatItsPaperSays) {
    const auto directory = fashion_mnist_directory();
    if (!fs::exists(directory)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
    const auto data = load_image_dataset(directory);
    EXPECT_EQ(data.train.images.shape(), Shape({60000, 28, 28}));
    EXPECT_EQ(data.test.images.shape(), Shape({10000, 28, 28}));
    for (const auto* set : {&data.train, &data.test}) {
        std::array<std::int64_t, 10> counts{};
        for (const auto label : set->labels.to<std::uint8_t>()) ++counts.at(label);
        for (const auto n : counts) EXPECT_EQ(n, set->labels.size() / 10);
    }
}

}  // namespace
}  // namespace tenon
