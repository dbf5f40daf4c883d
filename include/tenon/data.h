// Data sets: IDX files (the format of MNIST), and batches of them in a reproducible random order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tenon/export.h"
#include "tenon/tensor.h"

namespace tenon {

/// Images and their labels.
struct Dataset {
    /// (N, H, W) uint8.
    Tensor images;
    /// (N) uint8.
    Tensor labels;
};

struct ImageDataset {
    Dataset train, test;
};

/// The array in an IDX file (LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist), plain or gzip, told apart by
/// content: uint8, int8, int16, int32, float32 or float64, 1 to kMaxRank axes. Files are untrusted: throws FileError
/// naming the file and the rule for a wrong magic, type or rank, and for a size that is not exactly what the header
/// says. A compressed file may hold 2 GiB. The tensor has the file's dtype and extents.
TENON_API Tensor load_idx(const std::string& path);

/// The four files of MNIST and its relatives in `directory`: train-images-idx3-ubyte, train-labels-idx1-ubyte and the
/// same with t10k for the test set, each with or without ".gz". Throws FileError, naming the file, where one is missing
/// or not what it should be: images (N, H, W) uint8 with N, H, W at least 1, as many labels as images, labels of 0 to
/// 9, one image size in both sets.
TENON_API ImageDataset load_image_dataset(const std::string& directory);

/// Where Fashion-MNIST is: the environment variable TENON_FASHION_MNIST, else /usr/share/datasets/fashion-mnist, where
/// Debian's package dataset-fashion-mnist puts it.
TENON_API std::string fashion_mnist_directory();

struct BatchOptions {
    std::int64_t batch_size = 128;
    /// A new random order every epoch; else the order of the data set.
    bool shuffle = true;
    /// Leaves out an epoch's last batch where it is smaller.
    bool drop_last = false;
    /// Images as (B, H * W) instead of (B, H, W).
    bool flatten = true;
    /// A pixel p becomes (p / 255 - mean) / standard_deviation in float32; as given here, it lies in [0, 1].
    float mean = 0;
    float standard_deviation = 1;
    /// Each image is framed by this many rows and columns of 0 and cut back to H x W at a random place.
    std::int64_t crop_padding = 0;
    /// Every image is mirrored, left to right, with probability 1/2.
    bool flip = false;
};

/// A place in the endless sequence of batches.
struct BatchPosition {
    std::int64_t epoch = 0;
    std::int64_t index = 0;
    friend bool operator==(const BatchPosition&, const BatchPosition&) = default;
};

struct Batch {
    /// (B, H * W) or (B, H, W) float32; B is the batch size, or less in the last batch of an epoch.
    Tensor images;
    /// (B) int64.
    Tensor labels;
    BatchPosition position;
};

/// Batches of a data set. While the caller works on one, the next is prepared on a background thread, if the system
/// grants one. Every epoch has every image once. A batch depends only on the data, the key, the options and its
/// position: not on threads, nor on the batches read before. So a run is resumed by `seek` to the position that it had
/// reached.
///
/// The order of an epoch sorts the images by 64 random bits each (Philox), ties by index; crops and mirroring are drawn
/// by epoch and image.
///
/// One thread may call a loader at a time. A forked child needs a loader of its own.
class TENON_API BatchLoader {
  public:
    /// Throws ShapeError or TypeError unless `data` is as `Dataset` says, ValueError for an empty data set, a batch
    /// size below 1 (or one that drop_last leaves without a batch), a padding that is negative or larger than the
    /// image, a mean that is not finite, or a standard deviation that is not finite and positive. Keeps the tensors,
    /// copies nothing.
    BatchLoader(const Dataset& data, std::uint64_t key, const BatchOptions& options = {});
    BatchLoader(BatchLoader&&) noexcept;
    BatchLoader& operator=(BatchLoader&&) noexcept;
    ~BatchLoader();

    std::int64_t batches_per_epoch() const;
    /// The batch at `position()`, which moves on; after the last batch of an epoch comes the first of the next. An
    /// exception of the background thread is rethrown here, and the position stays.
    Batch next();
    /// Where `next` is.
    BatchPosition position() const;
    /// Throws ValueError for an epoch that is negative or above 2^62, or an index not below batches_per_epoch().
    void seek(BatchPosition position);

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tenon
