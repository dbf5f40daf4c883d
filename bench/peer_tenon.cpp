#include "bench/calls.h"
#include "bench/peer.h"
#include "tenon/product.h"
#include "tenon/threads.h"
#include "tenon/version.h"

namespace bench {
namespace {

namespace product = tenon::product;

product::Matrix matrix(const void* data, tenon::DType dtype, std::int64_t rows, std::int64_t columns, bool transposed) {
    return transposed ? product::row_major(data, dtype, columns, rows).transpose()
                      : product::row_major(data, dtype, rows, columns);
}

Prepared prepare(const Problem& problem, const Operands& operands) {
    const auto& [m, n, k, batch] = problem.shape;
    const TypeTraits& t = traits(problem.type);
    product::Matrix a = matrix(operands.a.data(), t.a, m, k, problem.a_transposed);
    product::Matrix b = matrix(operands.b.data(), t.b, k, n, problem.weights.transposed);
    product::Matrix c = product::row_major(operands.c.data(), problem.narrow ? t.a : t.c, m, n);
    a.batch_stride = m * k, b.batch_stride = k * n;
    product::GemmOptions options;
    options.batch = batch;
    if (problem.weights.packed) {
        const product::PackedMatrix packed = product::pack(b);
        return call_all([=] { product::gemm(a, packed, c, options); });
    }
    if (problem.repeated) {
        const product::PreparedGemm prepared = product::prepare(a, b, c, options);
        return {[=](std::int64_t calls) {
                    const void *const x = a.data, *const y = b.data;
                    void* const z = c.data;
                    for (std::int64_t i = 0; i < calls; ++i) prepared(x, y, z);
                },
                {}};
    }
    return call_all([=] { product::gemm(a, b, c, options); });
}

}  // namespace

Peer tenon_peer() {
    return {"tenon", TENON_VERSION, [](const Problem&) { return std::string(); }, prepare,
            [](int threads) { tenon::set_num_threads(threads); }};
}

}  // namespace bench
