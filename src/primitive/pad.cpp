// pad: a value before, after and between the elements of each axis (StableHLO: pad, without negative padding).
#include "primitive/pad.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr std::size_t kParts = 3;  // low, high, interior; then the value's bits

Extents piece(const Attributes& a, std::size_t i) {
    const std::size_t n = (a.size() - 1) / kParts;
    return Extents(std::span<const std::int64_t>(a).subspan(i * n, n));
}

void reference(const Node& n, std::span<const View> in, const View& out) {
    double value = std::bit_cast<double>(n.attributes[n.attributes.size() - 1]);
    const View given{&value, DType::float64, {}};
    std::uint64_t element = 0;  // the value in the result's dtype
    View fill{&element, out.dtype, {}};
    tape::run(tape::single(tape::Opcode::cast, {&given.dtype, 1}, out.dtype), {&given, 1}, {&fill, 1});
    fill.layout = Layout{}.broadcast(out.shape());
    copy(fill, out);
    Extents step = piece(n.attributes, 2);
    for (std::int64_t& s : step) ++s;
    copy(in[0], with_layout(out, out.layout.slice(piece(n.attributes, 0), in[0].shape(), step)));
}

constexpr Primitive kPad{
    .name = "pad",
    .doc = "The elements with a value before, after and between them.",
    .role = Role::indexing,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            const Extents low = piece(a, 0), high = piece(a, 1), interior = piece(a, 2);
            Shape s = in[0].shape();
            for (int i = 0; i < s.rank(); ++i) {
                std::int64_t gaps = 0;
                bool overflow = s[i] > 1 && __builtin_mul_overflow(s[i] - 1, interior[i], &gaps);
                for (const std::int64_t more : {low[i], high[i], gaps})
                    overflow = overflow || __builtin_add_overflow(s[i], more, &s[i]);
                if (overflow)
                    throw ShapeError(text("pad of ", to_string(in[0].shape()), " by ", to_string(low), ", ",
                                          to_string(high), ", ", to_string(interior), ": axis ", i,
                                          " does not fit 63 bits"));
            }
            return Signature{s, in[0].dtype()};
        },
    .derivative = Derivative::rule,
    .linear = 1,
    .tangent =
        [](const TangentContext& c) {
            return pad(c.d[0], piece(c.node.attributes, 0), piece(c.node.attributes, 1), piece(c.node.attributes, 2));
        },
    .adjoint =
        [](const AdjointContext& c) {
            const Extents low = piece(c.node.attributes, 0);
            Extents stop = low, step = piece(c.node.attributes, 2);
            for (int i = 0; i < low.rank(); ++i) {
                ++step[i];
                const std::int64_t n = c.in[0].shape()[i];
                if (n) stop[i] = low[i] + (n - 1) * step[i] + 1;
            }
            return slice(c.ct, low, stop, step);
        },
    .reference = reference,
    .refuses_nothing = true,
    .samples =
        [] {
            return std::vector{Sample{{{3, 2}},
                                      -1,
                                      1,
                                      [](std::span<const Tensor> in) {
                                          return pad(in[0], {1, 0}, {2, 1}, {1, 0});
                                      }},
                               Sample{{{3, 2}}, -1, 1, [](std::span<const Tensor> in) {
                                          return pad(in[0], {0, 3}, {0, 0}, {0, 2}, 1.5);
                                      }}};
        },
};
const Register registered(kPad);

}  // namespace

bool is_plain_pad(const Node& n) {
    if (n.primitive != &kPad || n.attributes[n.attributes.size() - 1] != 0) return false;
    const Extents interior = piece(n.attributes, 2);
    return std::all_of(interior.begin(), interior.end(), [](std::int64_t gap) { return gap == 0; });
}

Extents pad_low(const Node& n) { return piece(n.attributes, 0); }

Tensor pad(const Tensor& x, const Extents& low, const Extents& high, const Extents& interior, double value) {
    check_defined("pad", x);
    const Extents gaps = interior.empty() ? Extents(x.rank(), 0) : interior;
    bool fits = low.rank() == x.rank() && high.rank() == x.rank() && gaps.rank() == x.rank(), changes = false;
    for (int i = 0; fits && i < x.rank(); ++i) {
        fits = low[i] >= 0 && high[i] >= 0 && gaps[i] >= 0;
        changes = changes || low[i] || high[i] || gaps[i];
    }
    if (!fits)
        throw ShapeError(text("pad: ", to_string(low), ", ", to_string(high), ", ", to_string(interior), " do not pad ",
                              to_string(x.shape()), ": one amount of at least 0 for each axis"));
    if (!changes) return x;
    const Extents bits{std::bit_cast<std::int64_t>(value)};
    return record(kPad, {x}, attributes_of({&low, &high, &gaps, &bits}));
}

}  // namespace tenon
