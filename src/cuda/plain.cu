// A contraction of operands of dtype TENON_TYPE in its plainest form, one thread for each element of the result: for
// dtypes that no library takes, and as the naive kernel of `tenon bench three-way`. Neighbouring elements of the result
// belong to neighbouring threads. Sums run in the order of the law's labels, in float32 or wider; integers are exact
// modulo 2^bits.
#include "cuda/tape.cuh"

using namespace tenon;
using namespace tenon::cuda;

constexpr DType kType = DType::TENON_TYPE;
using S = Stored<kType>;

struct Axis {
    long long extent, a, b, out;  // strides in elements
};
struct Arguments {
    Axis result[24], summed[24];
    int results, sums;
};

template <class V>
struct Sum {
    unsigned long long value = 0;
    __forceinline__ void add(V x, V y) {
        value += static_cast<unsigned long long>(x) * static_cast<unsigned long long>(y);
    }
};
template <>
struct Sum<float> {
    float value = 0;
    __forceinline__ void add(float x, float y) { value = baseline::fma(x, y, value); }
};
template <>
struct Sum<double> {
    double value = 0;
    __forceinline__ void add(double x, double y) { value = baseline::fma(x, y, value); }
};

/// Moves both operands to element `at` of the axes.
__forceinline__ void move_to(long long at, const Axis* axes, int n, const S*& a, const S*& b) {
    for (int i = n - 1; i >= 0; --i) {
        const long long position = at % axes[i].extent;
        at /= axes[i].extent;
        a += position * axes[i].a;
        b += position * axes[i].b;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    contract(S* out, const S* a, const S* b, long long n, const __grid_constant__ Arguments p) {
    const long long e = blockIdx.x * 256ll + threadIdx.x;
    if (e >= n) return;
    move_to(e, p.result, p.results, a, b);
    long long rest = e;
    for (int i = p.results - 1; i >= 0; --i) {
        out += rest % p.result[i].extent * p.result[i].out;
        rest /= p.result[i].extent;
    }
    const Axis last = p.summed[p.sums - 1];
    long long outer = 1;
    for (int i = 0; i + 1 < p.sums; ++i) outer *= p.summed[i].extent;
    Sum<Value<kType>> sum;
    for (long long o = 0; o < outer; ++o) {
        const S *x = a, *y = b;
        move_to(o, p.summed, p.sums - 1, x, y);
        for (long long k = 0; k < last.extent; ++k, x += last.a, y += last.b)
            sum.add(Element<kType>::load(*x), Element<kType>::load(*y));
    }
    *out = Element<kType>::store(static_cast<Value<kType>>(sum.value));
}
