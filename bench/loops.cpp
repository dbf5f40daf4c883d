#include "bench/loops.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {
namespace {

void read_portable(const double* x, std::int64_t n) {
    double sums[8] = {};
    for (std::int64_t i = 0; i < n; i += 8)
        for (int j = 0; j < 8; ++j) sums[j] += x[i + j];
    double sum = 0;
    for (const double part : sums) sum += part;
    asm volatile("" : : "m"(sum));
}

#if defined(__x86_64__)

// An empty asm statement that writes a value: the compiler must not know it, and must think that it is used; it would
// compute equal chains once, and what nobody reads never.

// Enough chains to cover two units of a latency of up to six cycles.
constexpr int kChains = 12;

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

__attribute__((target("avx2"))) void read_avx2(const double* x, std::int64_t n) {
    __m256d sums[8];
#pragma GCC unroll 16
    for (__m256d& sum : sums) sum = _mm256_setzero_pd();
    for (std::int64_t i = 0; i < n; i += 32) {
#pragma GCC unroll 16
        for (int j = 0; j < 8; ++j) sums[j] = _mm256_add_pd(sums[j], _mm256_loadu_pd(x + i + 4 * j));
    }
#pragma GCC unroll 16
    for (__m256d& sum : sums) asm volatile("" : "+v"(sum));
}

__attribute__((target("avx512f"))) void read_avx512(const double* x, std::int64_t n) {
    __m512d sums[8];
#pragma GCC unroll 16
    for (__m512d& sum : sums) sum = _mm512_setzero_pd();
    for (std::int64_t i = 0; i < n; i += 64) {
#pragma GCC unroll 16
        for (int j = 0; j < 8; ++j) sums[j] = _mm512_add_pd(sums[j], _mm512_loadu_pd(x + i + 8 * j));
    }
#pragma GCC unroll 16
    for (__m512d& sum : sums) asm volatile("" : "+v"(sum));
}

#endif

}  // namespace

#if defined(__x86_64__)
const DotLoop kBf16Loop = {bf16_chains, std::int64_t{2} * 32 * kChains};
const DotLoop kU8s8Loop = {u8s8_chains, std::int64_t{2} * 64 * kChains};
#else
const DotLoop kBf16Loop = {nullptr, 0}, kU8s8Loop = {nullptr, 0};
#endif

ReadLoop* read_loop(const char* instruction_set) {
#if defined(__x86_64__)
    if (std::strcmp(instruction_set, "avx512") == 0) return read_avx512;
    if (std::strcmp(instruction_set, "avx2") == 0) return read_avx2;
#endif
    static_cast<void>(instruction_set);
    return read_portable;
}

}  // namespace bench
