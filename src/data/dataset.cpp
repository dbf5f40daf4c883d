#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/text.h"
#include "data/idx.h"
#include "primitive/operands.h"
#include "tenon/data.h"
#include "tenon/error.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
    std::error_code error;
    const bool there = fs::exists(path, error);
    if (error) throw FileError(text(path, ": ", error.message()));
    return there;
}

/// The file in `directory` of this name, or of this name and ".gz".
std::string find_file(const std::string& directory, const std::string& name) {
    const auto plain = (fs::path(directory) / name).string();
    if (exists(plain)) return plain;
    if (exists(plain + ".gz")) return plain + ".gz";
    if (!exists(directory)) throw FileError(text(directory, ": no such directory"));
    throw FileError(text(plain, ": no such file, nor one of that name with .gz"));
}

Dataset load_set(const std::string& directory, const std::string& prefix) {
    const auto image_file = find_file(directory, prefix + "-images-idx3-ubyte");
    const auto label_file = find_file(directory, prefix + "-labels-idx1-ubyte");
    Dataset set{load_idx(image_file), load_idx(label_file)};
    if (set.images.dtype() != DType::uint8 || set.images.rank() != 3 || set.images.size() == 0)
        throw FileError(text(image_file, ": ", described(set.images), " is not images, (N, H, W) uint8"));
    if (set.labels.dtype() != DType::uint8 || set.labels.rank() != 1)
        throw FileError(text(label_file, ": ", described(set.labels), " is not labels, (N,) uint8"));
    if (set.labels.extent(0) != set.images.extent(0))
        throw FileError(text(label_file, ": ", set.labels.extent(0), " labels for the ", set.images.extent(0),
                             " images of ", image_file));
    const auto labels = set.labels.data<std::uint8_t>();
    for (std::size_t i = 0; i < labels.size(); ++i)
        if (labels[i] > 9)
            throw FileError(
                text(label_file, ": label ", static_cast<int>(labels[i]), " at position ", i, " is not 0 to 9"));
    return set;
}

}  // namespace

Tensor load_idx(const std::string& path) {
    const auto array = std::make_shared<IdxArray>(read_idx(path));
    array->bytes.reserve(1);  // so that there is an address even without elements
    return Tensor::wrap(array->bytes.data(), array->dtype, Layout::contiguous(array->shape), [array] {});
}

ImageDataset load_image_dataset(const std::string& directory) {
    ImageDataset sets{load_set(directory, "train"), load_set(directory, "t10k")};
    const auto &a = sets.train.images, &b = sets.test.images;
    if (a.extent(1) != b.extent(1) || a.extent(2) != b.extent(2))
        throw FileError(text(directory, ": train images ", to_string(a.shape()), " and test images ",
                             to_string(b.shape()), " differ in size"));
    return sets;
}

std::string fashion_mnist_directory() {
    const char* set = std::getenv("TENON_FASHION_MNIST");
    return set && *set ? set : "/usr/share/datasets/fashion-mnist";
}

}  // namespace tenon
