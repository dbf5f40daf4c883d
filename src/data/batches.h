// The order of a data set's images, and the conversion of their bytes to the numbers of a batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

/// 0 to n - 1 in the random order of (key, epoch): sorted by 64 random bits each, ties by value.
std::vector<std::int64_t> epoch_order(std::uint64_t key, std::int64_t epoch, std::int64_t n);

/// The position at which an image is cut from its frame, and whether it is then mirrored. {padding, padding, false}
/// changes nothing.
struct Augmentation {
    std::int64_t top, left;
    bool mirrored;
};

/// The augmentation of image `image` in (key, epoch); top and left are uniform in [0, 2 * padding].
Augmentation draw_augmentation(std::uint64_t key, std::int64_t epoch, std::int64_t image, std::int64_t padding,
                               bool flip);

/// The image of height x width bytes, framed by `padding` zeros on each side, cut and mirrored, through `table`.
void copy_image(const std::uint8_t* image, std::int64_t height, std::int64_t width, std::int64_t padding,
                const Augmentation& augmentation, std::span<const float, 256> table, float* out);

}  // namespace tenon
