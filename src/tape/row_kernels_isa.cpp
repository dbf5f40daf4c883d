// Loops over whole rows of float32 for what reduces them most often, with the lanes in registers: the extremes of a
// row, and the sums of two functions of x - m, the square (variances) and exp (softmax, cross-entropy). As strips each
// would load and store its lanes for every strip. Elements enter the lanes in the order of tape::reduce, and are what
// the instructions give one by one.
#include "tape/combine.h"
#include "tape/loops_isa.h"
#include "tape/pack.h"

namespace tenon::tape::TENON_ISA {

#if defined(TENON_STRIP_VECTOR)
namespace {

constexpr int kLaneVectors = kLanes / kVector;

TENON_INLINE V load_vector(const float* x) {
    V v;
    __builtin_memcpy(&v, x, sizeof v);
    return v;
}
TENON_INLINE void store_vector(float* x, V v) { __builtin_memcpy(x, &v, sizeof v); }

/// False, and nothing is done, where an operand is NaN or a result is zero.
template <Reduction op>
bool extreme(float* lanes, const float* x, std::int64_t n) {
    V a[kLaneVectors];
    for (int v = 0; v < kLaneVectors; ++v) a[v] = load_vector(lanes + v * kVector);
    VBits worst{};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int v = 0; v < kLaneVectors; ++v) {
            const V y = load_vector(x + i + v * kVector);
            const VBits magnitude = reinterpret_cast<VBits>(y) & ~Real<float>::kSign;
            worst = magnitude > worst ? magnitude : worst;
            if constexpr (op == Reduction::max)
                a[v] = a[v] > y ? a[v] : y;
            else
                a[v] = a[v] < y ? a[v] : y;
        }
    bool unusual = reaches(worst, Real<float>::kInfinity + 1);
    alignas(V) float result[kLanes];
    for (int v = 0; v < kLaneVectors; ++v) store_vector(result + v * kVector, a[v]);
    for (int l = 0; i + l < n; ++l) {
        unusual |= x[i + l] != x[i + l];
        result[l] = quick_extreme<op>(result[l], x[i + l]);
    }
    VMask zero{};
    for (int v = 0; v < kLaneVectors; ++v) zero |= load_vector(result + v * kVector) == V{};
    if (unusual || any(zero)) return false;
    __builtin_memcpy(lanes, result, sizeof result);
    return true;
}

TENON_INLINE void prefetch_lanes(const char* ahead, std::int64_t i) {
    for (int byte = 0; byte < kLanes * 4; byte += 64) __builtin_prefetch(ahead + i * 4 + byte);
}

struct Square {
    TENON_INLINE static float one(float x) { return x * x; }
    TENON_INLINE static bool usual(const Pack<kPack>*) { return true; }
    TENON_INLINE static Pack<kPack> pack(Pack<kPack> x) { return x * x; }
};
struct Exponential {
    static float one(float x) { return exp(x); }
    TENON_INLINE static bool usual(const Pack<kPack>* x) {
        VBits worst{};
        for (int p = 0; p < kLaneVectors / kPack; ++p)
            for (int v = 0; v < kPack; ++v) {
                const VBits magnitude = reinterpret_cast<VBits>(x[p].v[v]) & ~Real<float>::kSign;
                worst = magnitude > worst ? magnitude : worst;
            }
        return !reaches(worst, bits(Real<float>::kExpNormal));
    }
    TENON_INLINE static Pack<kPack> pack(Pack<kPack> x) { return exp_normal(x); }
};

/// One element after the other, from the first lane on.
template <class Function>
[[gnu::noinline]] void sum_each(float* lanes, const float* x, float less, std::int64_t n, float* keep) {
    float y[kLanes];
    for (std::int64_t l = 0; l < n; ++l) y[l] = Function::one(x[l] - less);
    for (std::int64_t l = 0; l < n; ++l) lanes[l] += y[l];
    if (keep) __builtin_memcpy(keep, y, static_cast<std::size_t>(n) * sizeof(float));
}

template <class Function, bool keeps>
TENON_INLINE void sum_row(float* lanes, const float* x, float less, std::int64_t n, float* keep, const char* ahead) {
    constexpr int kPacks = kLaneVectors / kPack;
    V a[kLaneVectors];
    for (int v = 0; v < kLaneVectors; ++v) a[v] = load_vector(lanes + v * kVector);
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        if (ahead) prefetch_lanes(ahead, i);
        Pack<kPack> y[kPacks];
        for (int p = 0; p < kPacks; ++p)
            for (int v = 0; v < kPack; ++v) y[p].v[v] = load_vector(x + i + (p * kPack + v) * kVector) - less;
        if (!Function::usual(y)) [[unlikely]] {
            for (int v = 0; v < kLaneVectors; ++v) store_vector(lanes + v * kVector, a[v]);
            sum_each<Function>(lanes, x + i, less, kLanes, keeps ? keep + i : nullptr);
            for (int v = 0; v < kLaneVectors; ++v) a[v] = load_vector(lanes + v * kVector);
            continue;
        }
        for (int p = 0; p < kPacks; ++p) {
            const Pack<kPack> z = Function::pack(y[p]);
            for (int v = 0; v < kPack; ++v) {
                a[p * kPack + v] += z.v[v];
                if constexpr (keeps) store_vector(keep + i + (p * kPack + v) * kVector, z.v[v]);
            }
        }
    }
    for (int v = 0; v < kLaneVectors; ++v) store_vector(lanes + v * kVector, a[v]);
    if (i < n) sum_each<Function>(lanes, x + i, less, n - i, keeps ? keep + i : nullptr);
}

template <class Function>
void sum(float* lanes, const float* x, float less, std::int64_t n, float* keep, const char* ahead) {
    if (keep)
        sum_row<Function, true>(lanes, x, less, n, keep, ahead);
    else
        sum_row<Function, false>(lanes, x, less, n, keep, ahead);
}

}  // namespace

void fill_row_kernels(KernelTable& table) {
    RowKernels& t = table.row_kernels;
    t.maximum = &extreme<Reduction::max>;
    t.minimum = &extreme<Reduction::min>;
    t.sum_of[static_cast<int>(RowFunction::square)] = &sum<Square>;
    t.sum_of[static_cast<int>(RowFunction::exp)] = &sum<Exponential>;
}

#else
void fill_row_kernels(KernelTable&) {}
#endif

}  // namespace tenon::tape::TENON_ISA
