#include <random>

#include "base/text.h"
#include "hashes.h"
#include "product/dense/blocked.h"
#include "product/testing.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::hashes {
namespace {

using namespace product;
using product::testing::Array;
using product::testing::kTypes;
using product::testing::Storage;
using product::testing::Types;

constexpr Storage kStorages[] = {Storage::row_major, Storage::row_major, Storage::column_major,
                                 Storage::padded,    Storage::reversed,  Storage::shuffled};
constexpr std::int64_t kSizes[] = {1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 29, 31, 32, 33, 65, 100, 130};
constexpr std::int64_t kSummed[] = {0, 1, 2, 3, 5, 16, 31, 64, 127, 383, 384, 385, 800, 7000};

Matrix matrix(Array& x) {
    const View v = x.view();
    const Strides& s = v.layout.strides;
    return {v.data, v.dtype, v.shape()[1], v.shape()[2], s[1], s[2], s[0]};
}

/// One product of random types, layouts and sizes, by the way of that number where it accepts; then with its right
/// operand packed.
void hash_product(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const Types t = pick(kTypes);
    const std::int64_t batch = random() % 4 == 0 ? 3 : 1, m = pick(kSizes), n = pick(kSizes), k = pick(kSummed);
    Array a(t.a, {batch, m, k}, pick(kStorages), seed), b(t.b, {batch, k, n}, pick(kStorages), seed + 1),
        c(t.c, {batch, m, n}, pick(kStorages), seed + 2);
    a.randomize(seed), b.randomize(seed + 1);
    GemmOptions options{.batch = batch};
    if (t.c == DType::int32) {
        options.zero_a = static_cast<int>(random() % 255) - 127;
        options.zero_b = static_cast<int>(random() % 255) - 127;
    } else if (seed % 2 == 0) {
        options.alpha = 0.75, options.beta = seed % 4 == 0 ? 1 : -2;
    }
    const std::string what = text(name(t.a), " ", name(t.b), " ", name(t.c), " ", batch, "@", m, "x", n, "x", k);
    set_num_threads(1 + static_cast<int>(seed % 3));
    for (int row = -1; row < dense::kWayCount; ++row) {
        const dense::Choice choice{row, seed % 2 == 0 ? 0 : 512, static_cast<int>(seed % 3)};
        const dense::ForcedChoice forced(choice);
        c.randomize(seed + 2);
        gemm(matrix(a), matrix(b), matrix(c), options);
        report(text("gemm ", seed, " way ", row, " ", what), t.c, elements(c, t.c));
    }
    if (batch > 1) return;
    c.randomize(seed + 2);
    gemm(matrix(a), pack(matrix(b)), matrix(c), options);
    report(text("gemm ", seed, " packed ", what), t.c, elements(c, t.c));
}

}  // namespace

void product_hashes() {
    for (unsigned seed = 1; seed <= 200; ++seed) hash_product(seed);
    set_num_threads(0);
}

}  // namespace tenon::hashes
