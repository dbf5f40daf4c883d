#include "bench/problem.h"

#include <array>
#include <charconv>
#include <string_view>

#include "bench/blas.h"
#include "bench/lapack.h"
#include "cli/text.h"
#include "product/attention/attention.h"
#include "tenon/error.h"

namespace bench {
namespace {

using tenon::DType;

constexpr std::array<TypeTraits, kTypes> kTraits = {{
    {"f32", DType::float32, DType::float32, DType::float32},
    {"bf16", DType::bfloat16, DType::bfloat16, DType::float32},
    {"u8s8", DType::uint8, DType::int8, DType::int32},
    {"f64", DType::float64, DType::float64, DType::float64},
}};

// Beyond what int, the libraries' index type, and memory hold.
constexpr std::int64_t kMost = std::int64_t{1} << 24, kMaxElements = std::int64_t{1} << 31;

[[noreturn]] void refuse_shape(const std::string& text) {
    throw tenon::ValueError("--shapes " + text + ": not like 512x768x3072 (m x n x k), 64x(32x32x32) or 64@32x32x32");
}

std::int64_t extent(const std::string& text, const std::string& whole) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size() || n < 1) refuse_shape(whole);
    if (n > kMost) throw tenon::ValueError("--shapes " + whole + ": above " + std::to_string(kMost));
    return n;
}

std::int64_t bytes_of(DType dtype, std::int64_t elements) {
    return elements * static_cast<std::int64_t>(tenon::size_of(dtype));
}

}  // namespace

const TypeTraits& traits(Type type) { return kTraits[static_cast<std::size_t>(type)]; }

Type type_named(const std::string& name) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < kTraits.size(); ++i) {
        if (name == kTraits[i].name) return static_cast<Type>(i);
        names.emplace_back(kTraits[i].name);
    }
    throw tenon::ValueError("--dtype " + name + ": unknown; there are " + cli::join(names, ", "));
}

Shape parse_shape(const std::string& text) {
    Shape shape;
    std::string product = text;
    const std::size_t at = text.find('@'), open = text.find("x(");
    if (at != std::string::npos) {
        shape.batch = extent(text.substr(0, at), text);
        product = text.substr(at + 1);
    } else if (open != std::string::npos) {
        if (text.back() != ')') refuse_shape(text);
        shape.batch = extent(text.substr(0, open), text);
        product = text.substr(open + 2, text.size() - open - 3);
    }
    const std::vector<std::string> extents = cli::split(product, 'x');
    if (extents.size() != 3) refuse_shape(text);
    shape.m = extent(extents[0], text), shape.n = extent(extents[1], text), shape.k = extent(extents[2], text);
    for (const std::int64_t matrix : {shape.m * shape.k, shape.k * shape.n, shape.m * shape.n})
        if (matrix > kMaxElements / shape.batch)
            throw tenon::ValueError("--shapes " + text + ": more than 2^31 elements in an operand");
    return shape;
}

Weights parse_weights(const std::string& text) {
    if (text == "plain") return {false, false};
    if (text == "packed") return {true, false};
    if (text == "plain-wt") return {false, true};
    if (text == "packed-wt") return {true, true};
    throw tenon::ValueError("--weights " + text + ": unknown; there are plain, packed, plain-wt, packed-wt");
}

Structure structure_named(const std::string& full, std::int64_t out, std::int64_t in) {
    const auto below_root = [](std::int64_t n) {
        std::int64_t best = 1;
        for (std::int64_t d = 1; d * d <= n; ++d)
            if (n % d == 0) best = d;
        return best;
    };
    Structure s;
    s.name = full;
    const std::string_view suffix = "-backward";
    s.backward = full.ends_with(suffix);
    const std::string name = s.backward ? full.substr(0, full.size() - suffix.size()) : full;
    const auto rank_after = [&](std::string_view prefix) {
        if (!name.starts_with(prefix)) return false;
        const char *begin = name.data() + prefix.size(), *last = name.data() + name.size();
        const auto [end, error] = std::from_chars(begin, last, s.rho);
        return error == std::errc() && end == last && s.rho >= 1 && s.rho <= 1024;
    };
    const std::int64_t of_in = below_root(in), of_out = below_root(out);
    if (name == "kronecker") {
        s.alpha = in / of_in, s.beta = of_in, s.delta = out / of_out, s.epsilon = of_out;
        return s;
    }
    if (rank_after("low-rank-")) {
        s.alpha = in, s.epsilon = out;
        return s;
    }
    s.alpha = in / of_in, s.gamma = of_in, s.epsilon = out / of_out, s.phi = of_out;
    if (name == "monarch" || rank_after("btt-r")) return s;
    throw tenon::ValueError("structure " + full +
                            ": unknown; there are monarch, btt-rN, kronecker, low-rank-N, and these with -backward");
}

AttentionKind attention_named(const std::string& name) {
    for (const AttentionKind& kind :
         {AttentionKind{"attention", false, false}, AttentionKind{"causal", true, false},
          AttentionKind{"backward", false, true}, AttentionKind{"causal-backward", true, true}})
        if (kind.name == name) return kind;
    throw tenon::ValueError("attention " + name + ": unknown; there are attention, causal, backward, causal-backward");
}

LinearKind linear_named(const std::string& name) {
    using Act = LinearKind::Act;
    for (const LinearKind& kind :
         {LinearKind{"bias", Act::none}, LinearKind{"relu", Act::relu}, LinearKind{"gelu", Act::gelu},
          LinearKind{"gelu-tanh", Act::gelu_tanh}, LinearKind{"silu", Act::silu}})
        if (kind.name == name) return kind;
    throw tenon::ValueError("linear " + name + ": unknown; there are bias, relu, gelu, gelu-tanh, silu");
}

std::string Problem::name() const {
    if (factorization) return *factorization + ' ' + std::to_string(shape.m) + 'x' + std::to_string(shape.k);
    std::string text = std::to_string(shape.m) + 'x' + std::to_string(shape.n) + 'x' + std::to_string(shape.k);
    if (shape.batch != 1) text = std::to_string(shape.batch) + "x(" + text + ')';
    if (structure) text = structure->name + ' ' + text;
    if (attention) text = attention->name + ' ' + text;
    if (linear) text = linear->name + ' ' + text;
    if (routine) text = *routine + ' ' + text;
    if (names_weights) text += weights.packed ? " packed" : " plain";
    if (weights.transposed) text += " wt";
    if (a_transposed) text += " at";
    return text;
}

double Problem::operations() const {
    if (attention) {
        // Pairs that are not masked, for two products; the gradient has five more products.
        const double pairs = tenon::product::attention_pairs(shape.m, shape.n, attention->causal, -1, -1);
        return (attention->backward ? 3.5 : 1.0) * 4 * pairs * static_cast<double>(shape.batch * shape.k);
    }
    if (routine) return routine_operations(*routine, shape);
    if (factorization) return factorization_operations(*factorization, shape);
    if (structure)
        return (backward() ? 3 : 1) * 2.0 * static_cast<double>(shape.m) *
               static_cast<double>(structure->z_elements()) *
               static_cast<double>(structure->alpha + structure->epsilon);
    return 2.0 * static_cast<double>(shape.batch) * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
           static_cast<double>(shape.k);
}

std::int64_t Problem::bytes() const {
    const TypeTraits& t = traits(type);
    if (routine) return bytes_of(t.a, routine_elements(*routine, shape));
    if (factorization) return bytes_of(t.a, factorization_elements(*factorization, shape));
    return bytes_of(t.a, a_elements()) + bytes_of(t.b, b_elements()) + bytes_of(c_dtype(), c_elements());
}

}  // namespace bench
