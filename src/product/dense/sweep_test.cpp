// Kernels that sweep one row over columns read where they are.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "product/dense/blocked.h"
#include "product/dense/kernels.h"

namespace tenon::product::dense {
namespace {

template <class T>
void check(const KernelSet<T, T>& set, std::int64_t columns, std::int64_t k, bool many) {
    const std::int64_t pitch = columns + 3;
    std::vector<T> a(static_cast<std::size_t>(k)), b(static_cast<std::size_t>(k * pitch)),
        c(static_cast<std::size_t>(columns + 8), T(-7)), law(static_cast<std::size_t>(columns), T(0));
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; i < k; ++i) offsets.push_back(i * pitch);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(std::sin(1.3 * static_cast<double>(i + 1)));
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<T>(std::cos(0.7 * static_cast<double>(i + 1)));
    for (std::int64_t i = 0; i < k; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
            T& sum = law[static_cast<std::size_t>(j)];
            sum = std::fma(a[static_cast<std::size_t>(i)], b[static_cast<std::size_t>(i * pitch + j)], sum);
        }
    set.sweep[static_cast<int>(Source::same)][0](
        {k, a.data(), 0, b.data(), offsets.data(), columns, c.data(), columns, false, many});
    for (std::int64_t j = 0; j < columns; ++j)
        ASSERT_EQ(c[static_cast<std::size_t>(j)], law[static_cast<std::size_t>(j)])
            << columns << " columns, k " << k << ", many rows " << many << ", column " << j;
    for (std::size_t j = static_cast<std::size_t>(columns); j < c.size(); ++j)
        ASSERT_EQ(c[j], T(-7)) << columns << " columns: the store beyond them";
}

TEST(Sweep, OneRowInPlaceEqualsTheLaw) {
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon}) {
        if (!supported(isa)) continue;
        const IsaKernels& kernels = kernels_of(isa);
        for (const std::int64_t columns : {1, 15, 16, 17, 31, 32, 63, 64, 65, 100, 129, 200})
            for (const std::int64_t k : {1, 3, 4, 5, 7, 8, 9, 12, 15, 23})
                for (const bool many : {false, true}) {
                    check(kernels.f32, columns, k, many);
                    check(kernels.f64, columns, k, many);
                }
    }
}

}  // namespace
}  // namespace tenon::product::dense
