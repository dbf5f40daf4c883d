#include "profile/dot_loops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::profile {

#if defined(__x86_64__)

namespace {

// An empty asm statement that seems to read and write a value. Otherwise the compiler would compute equal chains only
// once, and drop those whose results are not read.

// More chains than keep two units with a latency of six cycles busy: with just as many, those of bfloat16 on a Zen 5
// reach 503 of 547 GFLOP/s.
constexpr int kChains = 16;

__attribute__((target("avx512f,avx512bf16"))) void bf16_chains(std::int64_t steps) {
    const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80)), y = x;
    __m512 sums[kChains];
#pragma GCC unroll 16
    for (__m512& sum : sums) {
        sum = _mm512_setzero_ps();
        asm volatile("" : "+v"(sum));
    }
    for (std::int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
        for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, x, y);
    }
#pragma GCC unroll 16
    for (__m512& sum : sums) asm volatile("" : "+v"(sum));
}

__attribute__((target("avx512f,avx512vnni"))) void u8s8_chains(std::int64_t steps) {
    const __m512i x = _mm512_set1_epi32(0x01010101), y = x;
    __m512i sums[kChains];
#pragma GCC unroll 16
    for (__m512i& sum : sums) {
        sum = _mm512_setzero_si512();
        asm volatile("" : "+v"(sum));
    }
    for (std::int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 16
        for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, x, y);
    }
#pragma GCC unroll 16
    for (__m512i& sum : sums) asm volatile("" : "+v"(sum));
}

}  // namespace

const DotLoop kBf16Loop = {bf16_chains, std::int64_t{2} * 32 * kChains};
const DotLoop kU8s8Loop = {u8s8_chains, std::int64_t{2} * 64 * kChains};
#else
const DotLoop kBf16Loop = {nullptr, 0}, kU8s8Loop = {nullptr, 0};
#endif

}  // namespace tenon::profile
