// What attention needs from an instruction set besides the kernels of products (dense/kernels.h): the passes over a row
// of a tile between its two products. Included by kernels compiled for any instruction set, so it must not define a
// function.
#pragma once

#include <cstdint>

namespace tenon::product::attention {

/// For rows of n columns, a multiple of kLanes; `s` holds sums. Results that a product reads replace the sums, in the
/// form that the product's kernels read.
template <class Acc>
struct Passes {
    /// For `rows` rows, `pitch` apart: updates each row's largest value and sum with these columns, replaces the sums
    /// by weights, and gives the factor for what was summed before (steps 3 and 4 of the law).
    void (*softmax)(Acc* s, std::int64_t pitch, std::int64_t rows, std::int64_t n, Acc scale, Acc* largest, Acc* sums,
                    Acc* factors);
    /// s = s * scale, or fma(bias, log2 e, s * scale).
    void (*logits)(Acc* s, const Acc* bias, std::int64_t n, Acc scale);
    /// o = fma(o, factor, chain), for `rows` rows of n elements, one after the other.
    void (*merge)(Acc* o, const Acc* chain, std::int64_t rows, std::int64_t n, const Acc* factors);
    /// What is kept of n rows: largest + log(sum) log2 e, or +inf if the sum is 0.
    void (*keep)(const Acc* largest, const Acc* sums, Acc* logsumexp, std::int64_t n);
    /// o = o / sum + 0; +0 if the sum is 0.
    void (*divide)(Acc* o, std::int64_t n, Acc sum);
    /// x = x * scale + 0.
    void (*multiply)(Acc* x, std::int64_t n, Acc scale);
    /// For one key and the queries from `first`, a multiple of kLanes, to n: p = 2^(s * scale - kept) replaces s, and p
    /// * (dp - d), or 0 if p is 0, replaces dp.
    void (*slopes)(Acc* s, Acc* dp, const Acc* logsumexp, const Acc* d, std::int64_t first, std::int64_t n, Acc scale);
    /// The sum over x y in kLanes lanes; x and y are of the stored type.
    Acc (*dot)(const void* x, const void* y, std::int64_t n);
    /// Whether n words of a packed operand are finite: of Acc, or of two elements where a word holds two.
    bool (*finite)(const void* words, std::int64_t n);
};

struct IsaPasses {
    Passes<float> f32;
    Passes<float> bf16;  // rounded to bfloat16, kept as float32
    Passes<double> f64;
};

// clang-format off
namespace baseline { extern const IsaPasses kPasses; }
namespace avx2 { extern const IsaPasses kPasses; }
namespace avx512 { extern const IsaPasses kPasses; }
namespace avx512_dot { extern const Passes<float> kPasses; }  // rounded to bfloat16, pairs in a word
namespace neon { extern const IsaPasses kPasses; }
// clang-format on

}  // namespace tenon::product::attention
