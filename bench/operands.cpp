#include "bench/operands.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "bench/blas.h"
#include "bench/lapack.h"
#include "bench/linear.h"
#include "tenon/error.h"

namespace bench {
namespace {

using tenon::DType;

/// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }
    float uniform() { return static_cast<float>(static_cast<std::int64_t>(next() >> 40) - (1 << 23)) * 0x1p-23F; }

  private:
    std::uint64_t state_;
};

void fill(const Buffer& buffer, DType dtype, std::int64_t elements, std::uint64_t seed) {
    Random random(seed);
    for (std::int64_t i = 0; i < elements; ++i) {
        if (dtype == DType::float32) static_cast<float*>(buffer.data())[i] = random.uniform();
        if (dtype == DType::float64) static_cast<double*>(buffer.data())[i] = static_cast<double>(random.uniform());
        if (dtype == DType::bfloat16)
            static_cast<tenon::bfloat16*>(buffer.data())[i] = tenon::to_bfloat16(random.uniform());
        if (dtype == DType::uint8)
            static_cast<std::uint8_t*>(buffer.data())[i] = static_cast<std::uint8_t>(random.next() >> 57);
        if (dtype == DType::int8)
            static_cast<std::int8_t*>(buffer.data())[i] = static_cast<std::int8_t>(random.next() >> 56);
    }
}

double element(const Buffer& buffer, DType dtype, std::int64_t i) {
    if (dtype == DType::float32) return static_cast<double>(static_cast<const float*>(buffer.data())[i]);
    if (dtype == DType::float64) return static_cast<const double*>(buffer.data())[i];
    if (dtype == DType::bfloat16)
        return static_cast<double>(tenon::to_float(static_cast<const tenon::bfloat16*>(buffer.data())[i]));
    if (dtype == DType::uint8) return static_cast<const std::uint8_t*>(buffer.data())[i];
    if (dtype == DType::int8) return static_cast<const std::int8_t*>(buffer.data())[i];
    return static_cast<const std::int32_t*>(buffer.data())[i];
}

/// An element of a layer's results: y, followed by the gradients of x, A and B.
struct Layer {
    const Problem& problem;
    const Operands& operands;
    const Structure& s = *problem.structure;
    std::int64_t rows = problem.shape.m, in = problem.shape.k, out = problem.shape.n;

    enum class Part : std::uint8_t { y, x, a, b };
    /// Which of them, and the element's place in it.
    std::pair<Part, std::int64_t> part(std::int64_t i) const {
        const std::int64_t sizes[] = {rows * out, rows * in, s.a_elements()};
        int part = 0;
        for (; part < 3 && i >= sizes[part]; ++part) i -= sizes[part];
        return {static_cast<Part>(part), i};
    }
    /// How many products each of an element's two sums has.
    std::pair<std::int64_t, std::int64_t> sums(Part part) const {
        switch (part) {
            case Part::y:
                return {s.alpha, s.rho * s.gamma * s.beta};
            case Part::x:
                return {s.epsilon, s.phi * s.delta * s.rho};
            case Part::a:
                return {s.epsilon, rows * s.beta};
            default:
                return {s.alpha, rows * s.delta};
        }
    }

    double x(std::int64_t row, std::int64_t g, std::int64_t b, std::int64_t a) const {
        return element(operands.a, traits(problem.type).a, row * in + (g * s.beta + b) * s.alpha + a);
    }
    double ct(std::int64_t row, std::int64_t f, std::int64_t e, std::int64_t d) const {
        return element(operands.a, traits(problem.type).a, rows * in + row * out + (f * s.epsilon + e) * s.delta + d);
    }
    double a(std::int64_t f, std::int64_t d, std::int64_t r, std::int64_t g, std::int64_t a) const {
        return element(operands.b, traits(problem.type).b,
                       (((f * s.delta + d) * s.rho + r) * s.gamma + g) * s.alpha + a);
    }
    double b(std::int64_t f, std::int64_t e, std::int64_t r, std::int64_t g, std::int64_t b) const {
        return element(operands.b, traits(problem.type).b,
                       s.a_elements() + (((f * s.epsilon + e) * s.rho + r) * s.gamma + g) * s.beta + b);
    }
    /// The intermediate between the factors, rounded to the operands' dtype.
    double z(std::int64_t row, std::int64_t f, std::int64_t d, std::int64_t r, std::int64_t g, std::int64_t b) const {
        double sum = 0;
        for (std::int64_t i = 0; i < s.alpha; ++i) sum += x(row, g, b, i) * a(f, d, r, g, i);
        if (problem.type == Type::bf16)
            sum = static_cast<double>(tenon::to_float(tenon::to_bfloat16(static_cast<float>(sum))));
        return sum;
    }
    double dz(std::int64_t row, std::int64_t f, std::int64_t d, std::int64_t r, std::int64_t g, std::int64_t b) const {
        double sum = 0;
        for (std::int64_t e = 0; e < s.epsilon; ++e) sum += ct(row, f, e, d) * this->b(f, e, r, g, b);
        return sum;
    }

    double operator()(std::int64_t i) const {
        const auto [which, at] = part(i);
        std::int64_t rest = at;
        const auto next = [&](std::int64_t extent) {
            const std::int64_t digit = rest % extent;
            rest /= extent;
            return digit;
        };
        double sum = 0;
        if (which == Part::y) {
            const std::int64_t d = next(s.delta), e = next(s.epsilon), f = next(s.phi), row = rest;
            for (std::int64_t r = 0; r < s.rho; ++r)
                for (std::int64_t g = 0; g < s.gamma; ++g)
                    for (std::int64_t j = 0; j < s.beta; ++j) sum += z(row, f, d, r, g, j) * b(f, e, r, g, j);
        } else if (which == Part::x) {
            const std::int64_t j = next(s.alpha), k = next(s.beta), g = next(s.gamma), row = rest;
            for (std::int64_t f = 0; f < s.phi; ++f)
                for (std::int64_t d = 0; d < s.delta; ++d)
                    for (std::int64_t r = 0; r < s.rho; ++r) sum += dz(row, f, d, r, g, k) * a(f, d, r, g, j);
        } else if (which == Part::a) {
            const std::int64_t j = next(s.alpha), g = next(s.gamma), r = next(s.rho), d = next(s.delta), f = rest;
            for (std::int64_t row = 0; row < rows; ++row)
                for (std::int64_t k = 0; k < s.beta; ++k) sum += x(row, g, k, j) * dz(row, f, d, r, g, k);
        } else {
            const std::int64_t k = next(s.beta), g = next(s.gamma), r = next(s.rho), e = next(s.epsilon), f = rest;
            for (std::int64_t row = 0; row < rows; ++row)
                for (std::int64_t d = 0; d < s.delta; ++d) sum += z(row, f, d, r, g, k) * ct(row, f, e, d);
        }
        return sum;
    }
};

/// How far an element may be off: the rounding error of a sum of k products of at most 1, in any order, with some room
/// for partial sums of blocks. A wrong product is off by about the square root of k.
double tolerance(const Problem& problem, const Operands& operands, std::int64_t i) {
    if (problem.linear) return linear_tolerance(problem);
    if (problem.type == Type::u8s8) return 0;
    const double epsilon = problem.type == Type::f64 ? std::numeric_limits<double>::epsilon()
                                                     : static_cast<double>(std::numeric_limits<float>::epsilon());
    // A wrong output is off by about one over the square root of the keys: 0.01 at 8192.
    if (problem.attention)
        return problem.type == Type::bf16 ? 0x1p-8 : epsilon * static_cast<double>(problem.shape.k + 24);
    // The backward error of LU grows with its largest elements.
    if (problem.factorization) return 64 * epsilon * static_cast<double>(problem.shape.k + 8);
    if (!problem.structure) return 2 * epsilon * static_cast<double>(problem.shape.k + 8);
    // The second sums add the errors of the first ones, and of their roundings. A wrong layer is off by about the
    // square root of the product of both lengths.
    const Layer layer{problem, operands};
    const auto sums = layer.sums(layer.part(i).first);
    const double first = static_cast<double>(sums.first), second = static_cast<double>(sums.second);
    const double rounding = problem.type == Type::bf16 ? 0x1p-7 : 2 * epsilon * (first + second + 8);
    return rounding * std::sqrt(first * second);
}

std::optional<RoutineBound> bound_of(const Problem& problem, const Operands& operands) {
    if (!problem.routine) return std::nullopt;
    return RoutineBound(problem, operands);
}

std::string difference(std::int64_t i, double found, double wanted) {
    char text[120];
    std::snprintf(text, sizeof text, "element %lld is %.17g, not %.17g", static_cast<long long>(i), found, wanted);
    return text;
}

/// An element of attention's output.
double attention(const Problem& problem, const Operands& operands, std::int64_t i) {
    const auto& [m, n, k, heads] = problem.shape;
    const TypeTraits& t = traits(problem.type);
    const std::int64_t head = i / (m * k), row = i / k % m, column = i % k;
    const std::int64_t keys = problem.attention->causal ? std::min(row + 1, n) : n;
    double total = 0, sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
        double s = 0;
        for (std::int64_t p = 0; p < k; ++p)
            s += element(operands.a, t.a, (head * m + row) * k + p) * element(operands.b, t.b, (head * n + j) * k + p);
        // The logits are small, so exp does not overflow without subtracting the maximum.
        const double weight = std::exp(s / std::sqrt(static_cast<double>(k)));
        total += weight;
        sum += weight * element(operands.b, t.b, ((heads + head) * n + j) * k + column);
    }
    return sum / total;
}

double dot(const Problem& problem, const Operands& operands, std::int64_t i) {
    if (problem.attention) return attention(problem, operands, i);
    if (problem.structure) return Layer{problem, operands}(i);
    const auto& [m, n, k, batch] = problem.shape;
    const TypeTraits& t = traits(problem.type);
    const std::int64_t matrix = i / (m * n), row = i / n % m, column = i % n;
    const double zero = problem.linear && problem.type == Type::u8s8 ? kZeroX : 0;
    double sum = 0;
    for (std::int64_t p = 0; p < k; ++p) {
        const std::int64_t in_a = problem.a_transposed ? p * m + row : row * k + p;
        const std::int64_t in_b = problem.weights.transposed ? column * k + p : p * n + column;
        const double x = element(operands.a, t.a, matrix * m * k + in_a) - zero;
        sum += x * element(operands.b, t.b, matrix * k * n + in_b);
    }
    if (!problem.linear) return sum;
    const bool follow = problem.type != Type::u8s8;
    return linear_element(problem, sum, follow ? element(operands.b, t.b, k * n + column) : 0,
                          follow ? element(operands.b, t.b, (k + 1) * n + i) : 0, column);
}

constexpr std::int64_t kPage = 4096;

std::int64_t buffer_bytes(DType dtype, std::int64_t elements) {
    return elements * static_cast<std::int64_t>(tenon::size_of(dtype));
}

}  // namespace

void Buffer::Free::operator()(void*) const { std::free(owned); }

Buffer::Buffer(std::int64_t bytes) : bytes_(bytes) { own(64, 0); }

Buffer::Buffer(std::int64_t bytes, std::int64_t after) : bytes_(bytes) { own(kPage, after); }

void Buffer::own(std::int64_t alignment, std::int64_t after) {
    const std::int64_t room = (after + bytes_ + 63 + alignment) / alignment * alignment;
    auto* const memory = static_cast<std::byte*>(
        std::aligned_alloc(static_cast<std::size_t>(alignment), static_cast<std::size_t>(room)));
    if (!memory) throw tenon::MemoryError("bench: " + std::to_string(bytes_) + " bytes cannot be had");
    data_ = {memory + after, Free{memory}};
}

Operands make_operands(const Problem& problem) {
    const TypeTraits& t = traits(problem.type);
    const std::int64_t a = buffer_bytes(t.a, problem.a_elements()), b = buffer_bytes(t.b, problem.b_elements()),
                       c = buffer_bytes(problem.c_dtype(), problem.c_elements());
    // An element that lies where C does in another page waits for C to be written by the call before. With such
    // operands 7^3 takes 2.8 times as long in float64; where they lie would depend on the process.
    const auto lines = [](std::int64_t bytes) { return (bytes + 127) / 64 * 64; };
    const bool apart = lines(a) + lines(b) + lines(c) <= kPage;
    Operands o = apart ? Operands{Buffer(a, 0), Buffer(b, lines(a)), Buffer(c, lines(a) + lines(b))}
                       : Operands{Buffer(a), Buffer(b), Buffer(c)};
    fill(o.a, t.a, problem.a_elements(), 1);
    fill(o.b, t.b, problem.b_elements(), 2);
    if (problem.routine) settle_routine(problem, o);
    if (problem.factorization) settle_factorization(problem, o);
    return o;
}

std::string compare_with_float64(const Problem& problem, const Operands& operands) {
    constexpr int kSampled = 64;
    const std::optional<RoutineBound> bound = bound_of(problem, operands);
    const DType c = problem.c_dtype();
    Random random(3);
    for (int s = 0; s < kSampled; ++s) {
        const auto i = static_cast<std::int64_t>(random.next() % static_cast<std::uint64_t>(problem.c_elements()));
        const double found = element(operands.c, c, i);
        const std::optional<double> asked =
            problem.routine ? routine_element(problem, operands, i) : dot(problem, operands, i);
        if (!asked) continue;
        const double wanted = *asked;
        if (!(std::abs(found - wanted) <= (bound ? (*bound)(i) : tolerance(problem, operands, i))))
            return difference(i, found, wanted);
    }
    return "";
}

std::string compare(const Problem& problem, const Operands& operands, const Buffer& expected) {
    const DType c = problem.c_dtype();
    const std::optional<RoutineBound> bound = bound_of(problem, operands);
    for (std::int64_t i = 0; i < problem.c_elements(); ++i) {
        const double found = element(operands.c, c, i), wanted = element(expected, c, i);
        if (problem.routine && std::isnan(found) && std::isnan(wanted)) continue;  // the other triangle
        if (!(std::abs(found - wanted) <= (bound ? (*bound)(i) : 2 * tolerance(problem, operands, i))))
            return difference(i, found, wanted);
    }
    return "";
}

}  // namespace bench
