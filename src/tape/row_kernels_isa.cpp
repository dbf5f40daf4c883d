// Loops over whole rows of float32 for the most frequent reductions, with the lanes in registers: the extremes of a
// row, and the sums of two functions of x - m, the square (variances) and exp (softmax, cross-entropy). As strips, each
// would load and store its lanes for every strip. Elements enter the lanes in the order of tape::reduce, and have the
// values that the instructions give one by one.
#include "tape/combine.h"
#include "tape/join_lanes.h"
#include "tape/loops_isa.h"

namespace tenon::tape::TENON_ISA {

#if defined(TENON_STRIP_VECTOR)
namespace {

TENON_INLINE V load_vector(const float* x) {
    V v;
    __builtin_memcpy(&v, x, sizeof v);
    return v;
}
TENON_INLINE void store_vector(float* x, V v) { __builtin_memcpy(x, &v, sizeof v); }

/// The last elements, fewer than the lanes, enter the lanes from the first on.
template <Reduction op>
TENON_INLINE void enter_last(V* a, const float* x, std::int64_t n) {
    if (n == 0) return;
    alignas(V) float lanes[kLanes];
    for (int v = 0; v < kLaneVectors; ++v) store_vector(lanes + v * kVector, a[v]);
    for (std::int64_t l = 0; l < n; ++l) lanes[l] = combine<op>(lanes[l], x[l]);
    for (int v = 0; v < kLaneVectors; ++v) a[v] = load_vector(lanes + v * kVector);
}

template <Reduction op>
TENON_INLINE void fill(V* a) {
    for (int v = 0; v < kLaneVectors; ++v) a[v] = neutral<op, float>() - V{};
}

/// Returns false if an operand is NaN or a lane is zero: the lanes are then not correct.
template <Reduction op>
TENON_INLINE bool extreme_lanes(V* a, const float* x, std::int64_t n) {
    fill<op>(a);
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
    enter_last<op>(a, x + i, n - i);
    VMask zero{};
    for (int v = 0; v < kLaneVectors; ++v) zero |= a[v] == V{};
    return !reaches(worst, Real<float>::kInfinity + 1) && !any(zero);
}

template <Reduction op>
float reduce(const float* x, std::int64_t n) {
    V a[kLaneVectors];
    if constexpr (kHasQuick<op, float>)
        if (extreme_lanes<op>(a, x, n)) [[likely]]
            return join<op>(a);
    fill<op>(a);
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int v = 0; v < kLaneVectors; ++v) a[v] = combine_vectors<op>(a[v], load_vector(x + i + v * kVector));
    enter_last<op>(a, x + i, n - i);
    return join<op>(a);
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
[[gnu::noinline]] void sum_each(V* a, const float* x, float less, std::int64_t n, float* keep) {
    float y[kLanes];
    for (std::int64_t l = 0; l < n; ++l) y[l] = Function::one(x[l] - less);
    enter_last<Reduction::sum>(a, y, n);
    if (keep) __builtin_memcpy(keep, y, static_cast<std::size_t>(n) * sizeof(float));
}

template <class Function, bool keeps>
TENON_INLINE float sum_row(const float* x, float less, std::int64_t n, float* keep, const char* ahead) {
    constexpr int kPacks = kLaneVectors / kPack;
    V a[kLaneVectors];
    fill<Reduction::sum>(a);
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        if (ahead) prefetch_lanes(ahead, i);
        Pack<kPack> y[kPacks];
        for (int p = 0; p < kPacks; ++p)
            for (int v = 0; v < kPack; ++v) y[p].v[v] = load_vector(x + i + (p * kPack + v) * kVector) - less;
        if (!Function::usual(y)) [[unlikely]] {
            V b[kLaneVectors];  // separate, so that the usual case stays in registers
            for (int v = 0; v < kLaneVectors; ++v) b[v] = a[v];
            sum_each<Function>(b, x + i, less, kLanes, keeps ? keep + i : nullptr);
            for (int v = 0; v < kLaneVectors; ++v) a[v] = b[v];
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
    if (i < n) {
        V b[kLaneVectors];
        for (int v = 0; v < kLaneVectors; ++v) b[v] = a[v];
        sum_each<Function>(b, x + i, less, n - i, keeps ? keep + i : nullptr);
        return join<Reduction::sum>(b);
    }
    return join<Reduction::sum>(a);
}

template <class Function>
float sum(const float* x, float less, std::int64_t n, float* keep, const char* ahead) {
    return keep ? sum_row<Function, true>(x, less, n, keep, ahead) : sum_row<Function, false>(x, less, n, keep, ahead);
}

}  // namespace

void fill_row_kernels(KernelTable& table) {
    RowKernels& t = table.row_kernels;
    t.reduce[static_cast<int>(Reduction::sum)] = &reduce<Reduction::sum>;
    t.reduce[static_cast<int>(Reduction::prod)] = &reduce<Reduction::prod>;
    t.reduce[static_cast<int>(Reduction::max)] = &reduce<Reduction::max>;
    t.reduce[static_cast<int>(Reduction::min)] = &reduce<Reduction::min>;
    t.sum_of[static_cast<int>(RowFunction::square)] = &sum<Square>;
    t.sum_of[static_cast<int>(RowFunction::exp)] = &sum<Exponential>;
}

#else
void fill_row_kernels(KernelTable&) {}
#endif

}  // namespace tenon::tape::TENON_ISA
