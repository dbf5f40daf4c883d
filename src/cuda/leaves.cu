// Numbers that the device makes itself: iota (of dtype TENON_TYPE) and random bits.
#include "cuda/tape.cuh"

using namespace tenon;
using namespace tenon::cuda;

extern "C" __global__ void __launch_bounds__(256) iota(Stored<DType::TENON_TYPE>* out, long long n) {
    wait_for_turn();
    const long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i < n) out[i] = convert<DType::int64, DType::TENON_TYPE>(i);
}

/// Words 4 b to 4 b + 3 of a stream, as base/philox.h defines them, up to word `words`.
extern "C" __global__ void __launch_bounds__(256)
    random_bits(unsigned* out, long long words, const unsigned long long* key, unsigned long long domain) {
    wait_for_turn();
    const long long block = blockIdx.x * 256ll + threadIdx.x;
    if (block * 4 >= words) return;
    constexpr unsigned long long kMultiply0 = 0xD2511F53u, kMultiply1 = 0xCD9E8D57u;
    unsigned c0 = static_cast<unsigned>(block), c1 = static_cast<unsigned>(block >> 32);
    unsigned c2 = static_cast<unsigned>(domain), c3 = static_cast<unsigned>(domain >> 32);
    unsigned k0 = static_cast<unsigned>(*key), k1 = static_cast<unsigned>(*key >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
        c0 = static_cast<unsigned>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<unsigned>(p1);
        c2 = static_cast<unsigned>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<unsigned>(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const unsigned all[4] = {c0, c1, c2, c3};
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (block * 4 + i < words) out[block * 4 + i] = all[i];
}
