// Functions of matrices: the exponential, powers; and products that need names of their own.
#include <cmath>
#include <vector>

#include "base/text.h"
#include "primitive/factorization.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/linalg.h"

namespace tenon::linalg {
namespace {

/// The numerator's coefficients of the diagonal Pade approximants of exp, and the 1-norm up to which the backward error
/// stays below the unit roundoff (Higham 2005, table 2.3; for float32 the degree-7 bound of its unit roundoff).
constexpr double kSeven[] = {17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1};
constexpr double kThirteen[] = {64764752532480000.,
                                32382376266240000.,
                                7771770303897600.,
                                1187353796428800.,
                                129060195264000.,
                                10559470521600.,
                                670442572800.,
                                33522128640.,
                                1323241920.,
                                40840800.,
                                960960.,
                                16380.,
                                182.,
                                1.};
constexpr double kBoundSeven = 3.925724783138660, kBoundThirteen = 5.371920351148152;

/// p(a) / p(-a) for a polynomial p with the odd part a u and the even part v.
Tensor approximant(const Tensor& a) {
    const Tensor one = eye(a.extent(-1), {}, 0, a.dtype());
    const Tensor a2 = matmul(a, a), a4 = matmul(a2, a2), a6 = matmul(a4, a2);
    Tensor u, v;
    if (a.dtype() == DType::float32) {
        const auto& b = kSeven;
        u = b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one;
        v = b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one;
    } else {
        const auto& b = kThirteen;
        u = matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one;
        v = matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one;
    }
    u = matmul(a, u);
    return solve(v - u, v + u);
}

Tensor over_matrix(const Tensor& x) { return expand_dims(expand_dims(x, -1), -1); }

}  // namespace

Tensor expm(const Tensor& x, int max_squarings) {
    check_square("expm", x);
    if (max_squarings < 0) throw ValueError(text("expm: max_squarings = ", max_squarings, " is negative"));
    if (x.size() == 0) return x;
    const DType t = x.dtype();
    const double bound = t == DType::float32 ? kBoundSeven : kBoundThirteen;
    Tensor norm = stop_gradient(matrix_norm(x, false, MatrixNorm::one)), scale = ones(norm.shape(), t);
    std::vector<Tensor> halved;
    for (int i = 0; i < max_squarings; ++i) {
        halved.push_back(greater(norm, bound));
        norm = select(halved.back(), 0.5 * norm, norm);
        scale = select(halved.back(), 0.5 * scale, scale);
    }
    scale = select(greater(norm, bound), constant(std::nan(""), t), scale);
    Tensor r = approximant(x * over_matrix(scale));
    for (const Tensor& again : halved) r = select(over_matrix(again), matmul(r, r), r);
    return r;
}

Tensor matrix_power(const Tensor& x, std::int64_t n) {
    check_square("matrix_power", x);
    auto left = n < 0 ? ~static_cast<std::uint64_t>(n) + 1 : static_cast<std::uint64_t>(n);
    Tensor square = n < 0 ? inv(x) : x, result;
    for (; left > 0; left >>= 1) {
        if (left & 1) result = result.defined() ? matmul(result, square) : square;
        if (left > 1) square = matmul(square, square);
    }
    return result.defined() ? result : broadcast_to(eye(x.extent(-1), {}, 0, x.dtype()), x.shape());
}

Tensor cross(const Tensor& a, const Tensor& b, int axis) {
    promoted("cross", a, b);
    if (axis >= 0 || -axis > std::min(a.rank(), b.rank()) || a.extent(axis) != 3 || b.extent(axis) != 3)
        throw ShapeError(text("cross of ", described(a), " and ", described(b), ": axis ", axis,
                              " is a negative axis of both, of extent 3"));
    broadcast_of("cross", a, b);
    const auto rolled = [&](const Tensor& x, std::int64_t by) { return roll(x, {-by}, {axis}); };
    return rolled(a, 1) * rolled(b, 2) - rolled(a, 2) * rolled(b, 1);
}

Tensor kron(const Tensor& a, const Tensor& b) {
    promoted("kron", a, b);
    if (a.rank() < 2 || b.rank() < 2)
        throw ShapeError(text("kron of ", described(a), " and ", described(b), ": a matrix has two axes"));
    check_batches("kron", a, b);
    const std::int64_t m = a.extent(-2), n = a.extent(-1), p = b.extent(-2), q = b.extent(-1);
    const Tensor product = reshape(a, with_batch_of(a, {m, 1, n, 1})) * reshape(b, with_batch_of(b, {1, p, 1, q}));
    Shape s = product.shape();
    for (int i = 0; i < 4; ++i) s.erase(s.rank() - 1);
    s.push_back(m * p);
    s.push_back(n * q);
    return reshape(product, s);
}

}  // namespace tenon::linalg
