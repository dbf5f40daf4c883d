#include "profile/peak_isa.h"

#include "product/dense/byte_pairs.h"
#include "product/dense/simd.h"

namespace tenon::profile {
namespace {

// Enough chains to keep two units with a latency of up to six cycles busy. With the factor and the addend they fit into
// sixteen registers.
constexpr int kChains = 12;

template <class T, class V = product::dense::Vector<T>>
T chains(std::int64_t steps, T factor, T addend) {
    const typename V::Reg x = V::broadcast(factor), y = V::broadcast(addend);
    typename V::Reg acc[kChains];
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) acc[j] = V::broadcast(static_cast<T>(j));
    for (std::int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
        for (int j = 0; j < kChains; ++j) acc[j] = V::fma(acc[j], x, y);
    }
    T sum = 0;
    for (const typename V::Reg& chain : acc)
        for (int i = 0; i < V::kLanes; ++i) sum += chain[i];
    return sum;
}

template <class T>
constexpr std::int64_t kFlopsPerStep = 2 * kChains* product::dense::Vector<T>::kLanes;

double read(const double* x, std::int64_t n) {
    using V = product::dense::Vector<double>;
    constexpr int kSums = 8;
    typename V::Reg sums[kSums] = {};
    for (std::int64_t i = 0; i < n; i += kSums * V::kLanes) {
#pragma GCC unroll 16
        for (int j = 0; j < kSums; ++j) sums[j] = V::add(sums[j], V::load(x + i + j * V::kLanes));
    }
    double sum = 0;
    for (const typename V::Reg& part : sums)
        for (int i = 0; i < V::kLanes; ++i) sum += part[i];
    return sum;
}

void triad(double* a, const double* b, const double* c, double s, std::int64_t n) {
    using V = product::dense::Vector<double>;
    const typename V::Reg factor = V::broadcast(s);
    for (std::int64_t i = 0; i < n; i += V::kLanes) V::store(a + i, V::load(b + i) + factor * V::load(c + i));
}

}  // namespace

namespace TENON_ISA {
constexpr PeakLoops kPeakLoops = {chains<float>,
                                  chains<double>,
                                  kFlopsPerStep<float>,
                                  kFlopsPerStep<double>,
#if defined(__x86_64__)
                                  chains<std::uint32_t, product::dense::BytePairs>,
                                  2 * kFlopsPerStep<std::uint32_t>,
#else
                                  nullptr,
                                  0,
#endif
                                  read,
                                  triad};
}  // namespace TENON_ISA

}  // namespace tenon::profile
