#include <algorithm>

#include "map/labels.h"
#include "map/structure.h"

namespace tenon::map {
namespace {

// The axes' labels, and their order in x, the factors, Z and y.
enum : std::uint8_t { kAlpha, kBeta, kGamma, kDelta, kEpsilon, kPhi, kRho };
constexpr Labels kX{kGamma, kBeta, kAlpha};
constexpr Labels kA{kPhi, kDelta, kRho, kGamma, kAlpha};
constexpr Labels kB{kPhi, kEpsilon, kRho, kGamma, kBeta};
constexpr Labels kZ{kPhi, kDelta, kRho, kGamma, kBeta};
constexpr Labels kY{kPhi, kEpsilon, kDelta};

// Whether the row axes of Z come first or last. One of the contractions has axes of Z as its batch, and so reads or
// writes them with strides. With the rows last these accesses are still contiguous runs, which makes block tensor
// trains twice as fast, forward and backward. The rows come first if beta or delta is more than 1, and if there is one
// group (low rank): both products then read Z along their sums or its rows. The order of the sums is the same either
// way.
Rows rows_of_z(const Theta& t) {
    const bool in_groups = t.gamma > 1 || t.phi > 1;
    return t.beta == 1 && t.delta == 1 && in_groups ? Rows::last : Rows::first;
}

// x (..., width), padded to the product of three axes, as (..., three axes).
Tensor split_last(const Tensor& x, std::int64_t a, std::int64_t b, std::int64_t c) {
    const Tensor padded = fit_last(x, a * b * c);
    Shape s = padded.shape();
    s.erase(s.rank() - 1);
    for (const std::int64_t e : {a, b, c}) s.push_back(e);
    return reshape(padded, s);
}

// y (..., three axes) as (..., their product), cut to (..., width).
Tensor join_last(const Tensor& y, std::int64_t width) {
    Shape s = y.shape();
    const std::int64_t joined = s[s.rank() - 3] * s[s.rank() - 2] * s[s.rank() - 1];
    for (int i = 0; i < 3; ++i) s.erase(s.rank() - 1);
    s.push_back(joined);
    return fit_last(reshape(y, s), width);
}

// Zeros after the axes of x, axes [first, first + more.size()).
Tensor grown(const Tensor& x, int first, std::initializer_list<std::int64_t> more) {
    Extents high(x.rank(), 0);
    for (const std::int64_t n : more) high[first++] = n;
    return pad(x, Extents(x.rank(), 0), high);
}

// How many zeros to append to an axis so that lines of 16-bit numbers begin at multiples of 16 bytes.
std::int64_t to_eights(std::int64_t n) { return (8 - n % 8) % 8; }

// Whether a product on a device is faster with zeros appended to the axes that it sums over: the device's library reads
// lines that do not begin at multiples of 16 bytes two numbers at a time. Blocks of 28, as for images of 28 x 28, are
// such a case.
bool wants_eights(const Theta& t, const Tensor& x, const Tensor& a) {
    constexpr std::int64_t kMinRows = 256, kShortest = 16;
    return x.device() != Device::cpu() && size_of(x.dtype()) == 2 && a.dtype() == x.dtype() && t.beta == 1 &&
           t.delta == 1 && std::min(t.alpha, t.gamma) >= kShortest && (t.alpha % 8 != 0 || t.gamma % 8 != 0) &&
           x.size() >= kMinRows * x.shape().back();
}

void check_fit(const std::string& name, const char* side, std::int64_t product, std::int64_t width) {
    if (product < width || static_cast<double>(product - width) > 0.15 * static_cast<double>(width))
        throw ShapeError(text(name, ": axes of ", product, " elements do not hold ", width, " ", side,
                              "; they may exceed it by 15 % at most"));
}

}  // namespace

TwoFactor::TwoFactor(std::string name, const Theta& theta, std::int64_t out, std::int64_t in, bool transposed)
    : name_(std::move(name)), theta_(theta), out_(out), in_(in), transposed_(transposed) {
    if (theta.rho < 1) throw ValueError(text(name_, ": rank ", theta.rho, " is below 1"));
    if (std::min({theta.alpha, theta.beta, theta.gamma, theta.delta, theta.epsilon, theta.phi}) < 1)
        throw ShapeError(text(name_, ": an axis has no elements"));
    try {
        count({theta.gamma, theta.beta, theta.alpha, theta.rho});
        count({theta.phi, theta.epsilon, theta.delta, theta.rho});
    } catch (const ShapeError& e) {
        throw ShapeError(text(name_, ": ", e.what()));
    }
    check_sizes(name_, out, in);
    check_fit(name_, "inputs", theta.in(), in);
    check_fit(name_, "outputs", theta.out(), out);
}

std::string TwoFactor::name() const { return transposed_ ? name_ + "^T" : name_; }

Shape TwoFactor::shape() const { return transposed_ ? Shape{in_, out_} : Shape{out_, in_}; }

Tensor TwoFactor::apply(const Tree& parameters, const Tensor& x) const {
    const Theta& t = theta_;
    const Tensor &a = parameters["A"].tensor(), &b = parameters["B"].tensor();
    const Rows of_z = rows_of_z(t);
    if (transposed_) {
        const Tensor y = split_last(x, t.phi, t.epsilon, t.delta);
        const Tensor z = contract_rows(y, kY, Rows::first, b, kB, kZ, of_z);
        return join_last(contract_rows(z, kZ, of_z, a, kA, kX, Rows::first), in_);
    }
    const Tensor split = split_last(x, t.gamma, t.beta, t.alpha);
    if (wants_eights(t, x, a)) {
        const std::int64_t groups = to_eights(t.gamma), inner = to_eights(t.alpha);
        const Tensor z = contract_rows(grown(split, split.rank() - 3, {groups, 0, inner}), kX, Rows::first,
                                       grown(a, 3, {groups, inner}), kA, kZ, of_z);
        return join_last(contract_rows(z, kZ, of_z, grown(b, 3, {groups}), kB, kY, Rows::first), out_);
    }
    const Tensor z = contract_rows(split, kX, Rows::first, a, kA, kZ, of_z);
    return join_last(contract_rows(z, kZ, of_z, b, kB, kY, Rows::first), out_);
}

StructurePtr TwoFactor::adjoint() const { return std::make_shared<TwoFactor>(name_, theta_, out_, in_, !transposed_); }

Tensor TwoFactor::to_dense(const Tree& parameters) const {
    const Labels rows{kPhi, kEpsilon, kDelta, kGamma, kBeta, kAlpha};
    const Tensor w = contract(parameters["A"].tensor(), kA, parameters["B"].tensor(), kB, rows);
    const Tensor whole = slice(reshape(w, {theta_.out(), theta_.in()}), {0, 0}, {out_, in_}, {1, 1});
    return transposed_ ? map::transposed(whole) : whole;
}

std::optional<Cost> TwoFactor::cost(const Tree& parameters, std::int64_t rows) const {
    const Theta& t = theta_;
    const std::int64_t z = product_of({t.phi, t.delta, t.rho, t.gamma, t.beta});
    return make_cost(parameters, rows, in_, out_, product_of({z, t.alpha + t.epsilon}), z);
}

std::optional<std::int64_t> TwoFactor::rank_bound() const {
    // W factors through Z, and also through the intermediate that applying B first would give.
    const Theta& t = theta_;
    return t.phi * t.rho * t.gamma * std::min(t.delta * t.beta, t.epsilon * t.alpha);
}

std::optional<Tree> TwoFactor::learning_rates(const Tree&, RateRule rule) const {
    const Theta& t = theta_;
    // The shape {out, in} of each core in its own product.
    const Shape a{t.phi * t.delta * t.rho, t.alpha}, b{t.epsilon, t.beta * t.gamma * t.rho};
    const auto rate = [&](const Shape& core) {
        return learning_rate(rule, shape(), transposed_ ? Shape{core[1], core[0]} : core, 2);
    };
    return Tree({{"A", rate(a)}, {"B", rate(b)}});
}

LinearMap TwoFactor::from(const Tensor& a, const Tensor& b) {
    if (a.rank() != 5 || b.rank() != 5) return from(a, b, 1, 1);
    const Shape &sa = a.shape(), &sb = b.shape();
    return from(a, b, sa[0] * sb[1] * sa[1], sa[3] * sb[4] * sa[4]);
}

LinearMap TwoFactor::from(const Tensor& a, const Tensor& b, std::int64_t out, std::int64_t in, std::string name) {
    const Shape &sa = a.shape(), &sb = b.shape();
    if (sa.rank() != 5 || sb.rank() != 5 || sa[0] != sb[0] || sa[2] != sb[2] || sa[3] != sb[3])
        throw ShapeError(text(name, ": factors ", to_string(sa), " and ", to_string(sb),
                              " are not (phi, delta, rho, gamma, alpha) and (phi, epsilon, rho, gamma, beta)"));
    const Theta theta{
        .alpha = sa[4], .beta = sb[4], .gamma = sa[3], .delta = sa[1], .epsilon = sb[1], .phi = sa[0], .rho = sa[2]};
    auto structure = std::make_shared<TwoFactor>(std::move(name), theta, out, in);
    return {std::move(structure), Tree({{"A", a}, {"B", b}})};
}

}  // namespace tenon::map
