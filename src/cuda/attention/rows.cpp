#include "cuda/attention/rows.h"

#include <bit>

#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"
#include "tenon/error.h"

namespace tenon::cuda::rows {
namespace {

// As declared in attention.cu.
struct Additive {
    const void *mask, *bias;
    std::int64_t extents[4], mask_strides[4], bias_strides[4];
};

Launch over(const product::Attention& a, std::int64_t threads) {
    const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
    if (blocks > INT32_MAX)
        throw ValueError(text("attention of queries ", to_string(a.q.shape()), " and keys ", to_string(a.k.shape()),
                              " on a GPU: ", threads, " threads of one kernel, more than ",
                              std::int64_t{INT32_MAX} * kThreads));
    return {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {kThreads}};
}

}  // namespace

View3 of_batch(const View& v, std::int64_t b) {
    const auto& s = v.layout.strides;
    return {v.as<std::byte>() + b * s[0] * static_cast<std::int64_t>(size_of(v.dtype)), {s[1], s[2], s[3]}};
}

Problem problem_of(const product::Attention& a, std::int64_t b, std::int64_t first, std::int64_t count) {
    Problem p;
    if (a.bias.data) p.bias = of_batch(a.bias, b);
    if (a.mask.data) p.mask = of_batch(a.mask, b);
    if (a.lengths.data) p.length = a.lengths.as<const std::int64_t>() + b * a.lengths.layout.strides[0];
    p.heads = a.heads(), p.queries = a.queries(), p.keys = a.keys(), p.first = first, p.count = count;
    p.scale = a.q.dtype == DType::float64 ? std::bit_cast<std::uint64_t>(a.scale)
                                          : std::bit_cast<std::uint32_t>(static_cast<float>(a.scale));
    p.left = a.left;
    p.right = a.causal ? 0 : a.right;
    return p;
}

const Kernel& kernel(Gpu& gpu, const char* name, DType dtype) {
    return gpu.printed(
        text("attention ", name, ' ', static_cast<int>(dtype)),
        [&] {
            return unit("cuda/attention/attention.cu",
                        {"-DTENON_TYPE=" + type_name(dtype).substr(sizeof "DType::" - 1)});
        },
        name);
}

Lengths lengths_of(Gpu& gpu, const product::Attention& a) {
    if (!a.lengths.data) return {};
    const std::int64_t n = a.batch(), apart = (n * 4 + 15) / 16 * 16;
    Lengths l{gpu.allocate(2 * apart), nullptr, nullptr};
    l.of_queries = l.storage->data();
    l.of_keys = static_cast<std::byte*>(l.storage->data()) + apart;
    if (n > 0)
        launch(gpu, kernel(gpu, "lengths", a.q.dtype), over(a, n), a.lengths.data, a.lengths.layout.strides[0],
               l.of_queries, l.of_keys, n, a.queries(), a.keys(), gpu.faults());
    return l;
}

std::shared_ptr<Storage> additive(Gpu& gpu, const product::Attention& a, const std::int64_t (&extents)[4]) {
    Additive p{a.mask.data, a.bias.data, {}, {}, {}};
    std::int64_t n = 1;
    for (int d = 0; d < 4; ++d) {
        n *= p.extents[d] = extents[d];
        if (a.mask.data) p.mask_strides[d] = a.mask.layout.strides[d];
        if (a.bias.data) p.bias_strides[d] = a.bias.layout.strides[d];
    }
    auto out = gpu.allocate(n * 4);
    if (n > 0) launch(gpu, kernel(gpu, "additive", a.q.dtype), over(a, n), out->data(), n, p);
    return out;
}

void clear_empty(Gpu& gpu, const product::Attention& a, const View& out, void* logsumexp, const Lengths& lengths,
                 const View& bias) {
    Problem p = problem_of(a, 0, 0, a.queries());
    p.bias = {}, p.mask = {}, p.length = nullptr;
    if (bias.data) p.bias = of_batch(bias, 0);
    launch(gpu, kernel(gpu, "clear_empty", a.q.dtype), over(a, 32 * a.batch() * a.heads() * a.queries()), out.data,
           logsumexp, lengths.of_keys, a.batch(), bias.data ? bias.layout.strides[0] : std::int64_t{0}, a.value_depth(),
           p);
}

}  // namespace tenon::cuda::rows
