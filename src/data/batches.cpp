#include "data/batches.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/philox.h"

namespace tenon {
namespace {

// Domains of the streams below: the letters of "order" and "crop".
constexpr std::uint64_t kOrder = 0x6f72646572, kCrop = 0x63726f70;

}  // namespace

std::vector<std::int64_t> epoch_order(std::uint64_t key, std::int64_t epoch, std::int64_t n) {
    const auto epoch_key = philox_derive(key, kOrder, static_cast<std::uint64_t>(epoch));
    std::vector<std::uint32_t> words(2 * static_cast<std::size_t>(n));
    philox_fill(epoch_key, kOrder, 0, words);
    const auto bits = [&](std::int64_t i) {
        const auto at = 2 * static_cast<std::size_t>(i);
        return words[at] | static_cast<std::uint64_t>(words[at + 1]) << 32;
    };
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        const auto x = bits(a), y = bits(b);
        return x != y ? x < y : a < b;
    });
    return order;
}

Augmentation draw_augmentation(std::uint64_t key, std::int64_t epoch, std::int64_t image, std::int64_t padding,
                               bool flip) {
    // A block of four words an image.
    std::array<std::uint32_t, 3> words;
    const auto epoch_key = philox_derive(key, kCrop, static_cast<std::uint64_t>(epoch));
    philox_fill(epoch_key, kCrop, 4 * static_cast<std::uint64_t>(image), words);
    const auto places = static_cast<std::uint64_t>(2 * padding + 1);
    const auto place = [&](std::uint32_t word) { return static_cast<std::int64_t>(word * places >> 32); };
    return {place(words[0]), place(words[1]), flip && (words[2] >> 31) != 0};
}

void copy_image(const std::uint8_t* image, std::int64_t height, std::int64_t width, std::int64_t padding,
                const Augmentation& augmentation, std::span<const float, 256> table, float* out) {
    for (std::int64_t y = 0; y < height; ++y) {
        const auto row = y + augmentation.top - padding;
        for (std::int64_t x = 0; x < width; ++x) {
            const auto column = (augmentation.mirrored ? width - 1 - x : x) + augmentation.left - padding;
            const bool inside = row >= 0 && row < height && column >= 0 && column < width;
            *out++ = table[inside ? image[row * width + column] : 0];
        }
    }
}

}  // namespace tenon
