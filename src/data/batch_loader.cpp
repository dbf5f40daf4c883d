#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"
#include "data/batches.h"
#include "data/prefetch.h"
#include "tenon/data.h"
#include "tenon/error.h"

namespace tenon {
namespace {

void require_dataset(const Dataset& data) {
    const auto &images = data.images, &labels = data.labels;
    if (!images.defined() || !labels.defined()) throw ValueError("BatchLoader: a data set without tensors");
    if (images.rank() != 3 || labels.rank() != 1 || images.extent(0) != labels.extent(0))
        throw ShapeError(text("BatchLoader: images ", to_string(images.shape()), " and labels ",
                              to_string(labels.shape()), " are not (N, H, W) and (N)"));
    if (images.dtype() != DType::uint8 || labels.dtype() != DType::uint8)
        throw TypeError(
            text("BatchLoader: images ", name(images.dtype()), " and labels ", name(labels.dtype()), " are not uint8"));
    if (images.size() == 0) throw ValueError(text("BatchLoader: images ", to_string(images.shape()), " are empty"));
}

void require_options(const BatchOptions& o, const Shape& images) {
    const auto n = images[0], side = std::max(images[1], images[2]);
    if (o.batch_size < 1) throw ValueError(text("BatchLoader: batch size ", o.batch_size, " is below 1"));
    if (o.drop_last && o.batch_size > n)
        throw ValueError(text("BatchLoader: drop_last leaves no batch of ", o.batch_size, " in ", n, " images"));
    if (o.crop_padding < 0 || o.crop_padding > side)
        throw ValueError(
            text("BatchLoader: crop padding ", o.crop_padding, " is not 0 to ", side, ", the image's side"));
    if (!(o.standard_deviation > 0) || !std::isfinite(o.standard_deviation) || !std::isfinite(o.mean))
        throw ValueError(text("BatchLoader: mean ", o.mean, " and standard deviation ", o.standard_deviation,
                              " are not finite with the latter positive"));
}

// The last epoch that seek accepts: no number overflows, however long training continues from there.
constexpr std::int64_t kLastEpoch = std::int64_t{1} << 62;

template <class T>
Tensor wrap(std::vector<T> values, const Shape& shape) {
    const auto memory = std::make_shared<std::vector<T>>(std::move(values));
    return Tensor::wrap(memory->data(), dtype_for<T>, Layout::contiguous(shape), [memory] {});
}

/// A batch as the background thread makes it. The caller's thread makes tensors of it.
struct HostBatch {
    std::vector<float> images;
    std::vector<std::int64_t> labels;
};

}  // namespace

class BatchLoader::Impl {
  public:
    Impl(const Dataset& data, std::uint64_t key, const BatchOptions& options)
        : data_(data),
          key_(key),
          options_(options),
          count_(data.images.extent(0)),
          height_(data.images.extent(1)),
          width_(data.images.extent(2)),
          images_(data_.images.data<std::uint8_t>()),
          labels_(data_.labels.data<std::uint8_t>()),
          prefetch_([this](BatchPosition p) { return assemble(p); }) {
        for (std::size_t i = 0; i < table_.size(); ++i)
            table_[i] = (static_cast<float>(i) / 255.0f - options.mean) / options.standard_deviation;
    }

    std::int64_t batches_per_epoch() const {
        return options_.drop_last ? count_ / options_.batch_size : (count_ - 1) / options_.batch_size + 1;
    }
    BatchPosition position() const { return position_; }
    void seek(BatchPosition p) {
        if (p.epoch > kLastEpoch)
            throw ValueError(text("BatchLoader: epoch ", p.epoch, " is above 2^62, which no run reaches"));
        if (p.epoch < 0 || p.index < 0 || p.index >= batches_per_epoch())
            throw ValueError(text("BatchLoader: there is no batch ", p.index, " in epoch ", p.epoch, " (",
                                  batches_per_epoch(), " an epoch)"));
        position_ = p;
    }
    Batch next() {
        const auto last = position_.index + 1 == batches_per_epoch();
        const auto after =
            last ? BatchPosition{position_.epoch + 1, 0} : BatchPosition{position_.epoch, position_.index + 1};
        auto host = prefetch_.get(position_, after);
        const auto n = static_cast<std::int64_t>(host.labels.size());
        const auto shape = options_.flatten ? Shape{n, height_ * width_} : Shape{n, height_, width_};
        const auto here = std::exchange(position_, after);
        return {wrap(std::move(host.images), shape), wrap(std::move(host.labels), {n}), here};
    }

  private:
    /// Runs on the background thread or the caller's, one call at a time.
    HostBatch assemble(BatchPosition p) {
        if (options_.shuffle && p.epoch != order_epoch_) {
            order_ = epoch_order(key_, p.epoch, count_);
            order_epoch_ = p.epoch;
        }
        const auto begin = p.index * options_.batch_size;
        const auto n = std::min(options_.batch_size, count_ - begin);
        const auto pixels = height_ * width_;
        const bool augmented = options_.crop_padding > 0 || options_.flip;
        HostBatch batch;
        batch.images.resize(static_cast<std::size_t>(n * pixels));
        for (std::int64_t i = 0; i < n; ++i) {
            const auto at = options_.shuffle ? order_[static_cast<std::size_t>(begin + i)] : begin + i;
            const auto augmentation = augmented
                                          ? draw_augmentation(key_, p.epoch, at, options_.crop_padding, options_.flip)
                                          : Augmentation{0, 0, false};
            copy_image(images_.data() + at * pixels, height_, width_, options_.crop_padding, augmentation, table_,
                       batch.images.data() + i * pixels);
            batch.labels.push_back(labels_[static_cast<std::size_t>(at)]);
        }
        return batch;
    }

    const Dataset data_;
    const std::uint64_t key_;
    const BatchOptions options_;
    const std::int64_t count_, height_, width_;
    const std::span<const std::uint8_t> images_, labels_;
    std::array<float, 256> table_;
    BatchPosition position_;
    std::vector<std::int64_t> order_;
    std::int64_t order_epoch_ = -1;
    // The last member: it is destroyed first, and waits for a running call, which uses the others.
    Prefetch<BatchPosition, HostBatch> prefetch_;
};

BatchLoader::BatchLoader(const Dataset& data, std::uint64_t key, const BatchOptions& options) {
    require_dataset(data);
    require_options(options, data.images.shape());
    impl_ = std::make_unique<Impl>(data, key, options);
}
BatchLoader::BatchLoader(BatchLoader&&) noexcept = default;
BatchLoader& BatchLoader::operator=(BatchLoader&&) noexcept = default;
BatchLoader::~BatchLoader() = default;

std::int64_t BatchLoader::batches_per_epoch() const { return impl_->batches_per_epoch(); }
Batch BatchLoader::next() { return impl_->next(); }
BatchPosition BatchLoader::position() const { return impl_->position(); }
void BatchLoader::seek(BatchPosition position) { impl_->seek(position); }

}  // namespace tenon
