// custom: a value whose derivative is given by its caller.
#include "primitive/custom.h"

#include <pthread.h>

#include <mutex>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

struct Rule {
    TangentFunction tangent;
    PullbackFunction pullback;
};

std::vector<Tensor> defined_tangents(std::span<const Tensor> args, std::span<const Tensor> d) {
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < args.size(); ++i)
        all.push_back(d[i].defined() ? d[i] : zeros_of(args[i].shape(), args[i].dtype()));
    return all;
}

// Throws unless the result of the caller's rule has the shape and dtype of the tensor whose derivative it is.
void check_like(const std::string& what, const Tensor& given, const char* whose, const Tensor& x) {
    const std::string rule = text(what, " is ", described(given), ", ", whose, " ", described(x));
    if (given.shape() != x.shape()) throw ShapeError(rule);
    if (given.dtype() != x.dtype()) throw TypeError(rule);
}

// Guards the results that nodes remember. A forked child must not find it held by a thread that it does not have.
std::mutex mutex;
const int at_fork = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

std::vector<Tensor> checked_pullback(const PullbackFunction& pullback, std::span<const Tensor> args, const Tensor& out,
                                     const Tensor& ct) {
    std::vector<Tensor> cts = pullback(args, out, ct);
    if (cts.size() != args.size())
        throw ValueError(text("custom_vjp: ", cts.size(), " cotangents for ", args.size(), " arguments"));
    for (std::size_t i = 0; i < cts.size(); ++i)
        if (cts[i].defined() && is_floating(args[i].dtype()))
            check_like(text("custom_vjp: cotangent ", i), cts[i], "the argument", args[i]);
    return cts;
}

// The tangent map of a function that has only a pullback: a linear node that can be transposed but not computed. Its
// operands are the tangents, then the arguments, then the output. One pullback serves all operands of one cotangent.
struct Linear {
    struct Pulled {
        Tensor ct;
        std::vector<Tensor> cts;
    };

    PullbackFunction pullback;
    mutable std::shared_ptr<const Pulled> last;

    // The pullback is the caller's code. It runs without the lock, and what it replaces is destroyed after that.
    Tensor cotangent(std::span<const Tensor> in, int operand, const Tensor& c) const {
        auto pulled = remembered();
        if (!pulled || pulled->ct.node() != c.node()) {
            const std::size_t n = (in.size() - 1) / 2;
            pulled =
                std::make_shared<const Pulled>(Pulled{c, checked_pullback(pullback, in.subspan(n, n), in.back(), c)});
            auto before = pulled;
            const std::lock_guard lock(mutex);
            last.swap(before);
        }
        return pulled->cts[static_cast<std::size_t>(operand)];
    }
    std::shared_ptr<const Pulled> remembered() const {
        const std::lock_guard lock(mutex);
        return last;
    }
};

constexpr Primitive kCustomLinear{
    .name = "custom_linear",
    .doc = "The tangent map of a function that has only a pullback.",
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            return Signature{in.back().shape(), in.back().dtype()};
        },
    .derivative = Derivative::none,
    .linear = ~0u,
    .adjoint =
        [](const AdjointContext& c) {
            return static_cast<const Linear*>(c.node.payload.get())->cotangent(c.in, c.operand, c.ct);
        },
    .reference =
        [](const Node&, std::span<const View>, const View&) {
            throw ValueError("custom_vjp: the function has a pullback only; forward-mode derivatives need custom_jvp");
        },
};
const Register registered_linear(kCustomLinear);

Tensor tangent(const TangentContext& c) {
    const auto& rule = *static_cast<const Rule*>(c.node.payload.get());
    const auto args = c.in.subspan(1);
    const std::vector<Tensor> d = defined_tangents(args, c.d.subspan(1));
    if (rule.tangent) {
        Tensor t = rule.tangent(args, c.out, d);
        if (t.defined()) check_like("custom_jvp: the tangent", t, "the value", c.out);
        return t;
    }
    std::vector<Tensor> in = d;
    in.insert(in.end(), args.begin(), args.end());
    in.push_back(c.out);
    Tensor t = record(kCustomLinear, in);
    auto linear = std::make_shared<Linear>();
    linear->pullback = rule.pullback;
    t.node()->payload = std::move(linear);
    return t;
}

Tensor cube_with_own_tangent(std::span<const Tensor> in) {
    return with_custom_tangent(in[0] * in[0] * in[0], in,
                               [](auto args, const Tensor&, auto d) { return 3 * args[0] * args[0] * d[0]; });
}

Tensor product_with_own_pullback(std::span<const Tensor> in) {
    return with_custom_pullback(in[0] * in[1], in, [](auto args, const Tensor&, const Tensor& ct) {
        return std::vector<Tensor>{ct * args[1], ct * args[0]};
    });
}

constexpr Primitive kCustom{
    .name = "custom",
    .doc = "A value with a derivative of the caller's own.",
    .role = Role::view,
    .infer = infer_alike,
    .derivative = Derivative::rule,
    .tangent = tangent,
    .view = view_whole,
    .reference = copy_view,
    .samples =
        [] {
            return std::vector{Sample{{{3, 2}}, -1, 1, cube_with_own_tangent},
                               Sample{{{3, 2}, {3, 2}}, -1, 1, product_with_own_pullback}};
        },
};
const Register registered(kCustom);

Tensor with_rule(const Tensor& value, std::span<const Tensor> args, Rule rule) {
    std::vector<Tensor> in{stop_gradient(value)};
    in.insert(in.end(), args.begin(), args.end());
    Tensor t = record(kCustom, in);
    t.node()->payload = std::make_shared<Rule>(std::move(rule));
    return t;
}

}  // namespace

Tensor with_custom_tangent(const Tensor& value, std::span<const Tensor> args, TangentFunction rule) {
    return with_rule(value, args, {std::move(rule), nullptr});
}

Tensor with_custom_pullback(const Tensor& value, std::span<const Tensor> args, PullbackFunction rule) {
    return with_rule(value, args, {nullptr, std::move(rule)});
}

}  // namespace tenon
