// Loops over whole rows of float32 for the most frequent reductions, with the lanes in registers: the extremes of a
// row, and the sums of two functions of x - m, the square (variances) and exp (softmax, cross-entropy). As strips, each
// would load and store its lanes for every strip. Elements enter the lanes in the order of tape::reduce, and have the
// values that the instructions give one by one.
#include <utility>

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

/// Calls f(0), ..., f(n - 1), each with a constant. The compiler keeps an array of vectors in registers through a loop
/// if all its indices are constants from the beginning; otherwise it stores what has changed each time.
template <int n, class F>
TENON_INLINE void each(const F& f) {
    [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, i>{}), ...);
    }
    (std::make_integer_sequence<int, n>{});
}
#define TENON_EACH_VECTOR(v) each<kLaneVectors>([&](auto v) __attribute__((always_inline))

struct Lanes {
    V v[kLaneVectors];
};

/// The last elements, fewer than the lanes, enter the lanes from the first on.
template <Reduction op>
TENON_INLINE Lanes with_last(const Lanes& a, const float* x, std::int64_t n) {
    if (n == 0) return a;
    alignas(V) float lanes[kLanes];
    TENON_EACH_VECTOR(v) { store_vector(lanes + v * kVector, a.v[v]); });
    for (std::int64_t l = 0; l < n; ++l) lanes[l] = combine<op>(lanes[l], x[l]);
    Lanes b;
    TENON_EACH_VECTOR(v) { b.v[v] = load_vector(lanes + v * kVector); });
    return b;
}

template <Reduction op>
TENON_INLINE Lanes neutral_lanes() {
    Lanes a;
    TENON_EACH_VECTOR(v) { a.v[v] = neutral<op, float>() - V{}; });
    return a;
}

template <Reduction op>
TENON_INLINE float joined(Lanes a) {
    return join<op>(a.v);
}

/// Returns false if an operand is NaN or a lane is zero: the lanes are then not correct.
template <Reduction op>
TENON_INLINE bool extreme_lanes(Lanes& lanes, const float* x, std::int64_t n) {
    Lanes a = neutral_lanes<op>();
    VBits worst{};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) TENON_EACH_VECTOR(v) {
            const V y = load_vector(x + i + v * kVector);
            const VBits magnitude = reinterpret_cast<VBits>(y) & ~Real<float>::kSign;
            worst = magnitude > worst ? magnitude : worst;
            if constexpr (op == Reduction::max)
                a.v[v] = a.v[v] > y ? a.v[v] : y;
            else
                a.v[v] = a.v[v] < y ? a.v[v] : y;
        });
    lanes = with_last<op>(a, x + i, n - i);
    VMask zero{};
    TENON_EACH_VECTOR(v) { zero |= lanes.v[v] == V{}; });
    return !reaches(worst, Real<float>::kInfinity + 1) && !any(zero);
}

template <Reduction op>
float reduce(const float* x, std::int64_t n) {
    if constexpr (kHasQuick<op, float>) {
        Lanes quick;
        if (extreme_lanes<op>(quick, x, n)) [[likely]]
            return joined<op>(quick);
    }
    Lanes a = neutral_lanes<op>();
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) TENON_EACH_VECTOR(v) {
            a.v[v] = combine_vectors<op>(a.v[v], load_vector(x + i + v * kVector));
        });
    return joined<op>(with_last<op>(a, x + i, n - i));
}

TENON_INLINE void prefetch_lanes(const char* ahead, std::int64_t i) {
    for (int byte = 0; byte < kLanes * 4; byte += 64) __builtin_prefetch(ahead + i * 4 + byte);
}

struct Square {
    TENON_INLINE static float one(float x) { return x * x; }
    TENON_INLINE static bool usual(const Lanes&) { return true; }
    TENON_INLINE static Pack<kPack> pack(Pack<kPack> x) { return x * x; }
};
struct Exponential {
    static float one(float x) { return exp(x); }
    TENON_INLINE static bool usual(const Lanes& x) {
        VBits worst{};
        TENON_EACH_VECTOR(v) {
            const VBits magnitude = reinterpret_cast<VBits>(x.v[v]) & ~Real<float>::kSign;
            worst = magnitude > worst ? magnitude : worst;
        });
        return !reaches(worst, bits(Real<float>::kExpNormal));
    }
    TENON_INLINE static Pack<kPack> pack(Pack<kPack> x) { return exp_normal(x); }
};

/// One element after the other, from the first lane on.
template <class Function>
[[gnu::noinline]] void sum_each(Lanes& a, const float* x, float less, std::int64_t n, float* keep) {
    float y[kLanes];
    for (std::int64_t l = 0; l < n; ++l) y[l] = Function::one(x[l] - less);
    a = with_last<Reduction::sum>(a, y, n);
    if (keep) __builtin_memcpy(keep, y, static_cast<std::size_t>(n) * sizeof(float));
}

/// The same on a copy, so that the lanes stay in registers where it is not called.
template <class Function>
TENON_INLINE Lanes with_each(const Lanes& a, const float* x, float less, std::int64_t n, float* keep) {
    Lanes b;
    TENON_EACH_VECTOR(v) { b.v[v] = a.v[v]; });
    sum_each<Function>(b, x, less, n, keep);
    return b;
}

template <class Function, bool keeps>
TENON_INLINE float sum_row(const float* x, float less, std::int64_t n, float* keep, const char* ahead) {
    Lanes a = neutral_lanes<Reduction::sum>();
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        if (ahead) prefetch_lanes(ahead, i);
        Lanes y;
        TENON_EACH_VECTOR(v) { y.v[v] = load_vector(x + i + v * kVector) - less; });
        if (!Function::usual(y)) [[unlikely]] {
            const Lanes b = with_each<Function>(a, x + i, less, kLanes, keeps ? keep + i : nullptr);
            TENON_EACH_VECTOR(v) { a.v[v] = b.v[v]; });
            continue;
        }
        each<kLaneVectors / kPack>([&](auto p) __attribute__((always_inline)) {
            Pack<kPack> z;
            each<kPack>([&](auto v) __attribute__((always_inline)) { z.v[v] = y.v[p * kPack + v]; });
            z = Function::pack(z);
            each<kPack>([&](auto v) __attribute__((always_inline)) {
                a.v[p * kPack + v] += z.v[v];
                if constexpr (keeps) store_vector(keep + i + (p * kPack + v) * kVector, z.v[v]);
            });
        });
    }
    if (i == n) return joined<Reduction::sum>(a);
    return joined<Reduction::sum>(with_each<Function>(a, x + i, less, n - i, keeps ? keep + i : nullptr));
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
