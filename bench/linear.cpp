// Linear layers on Tenon: the product with its epilogue, the product and then the tape, and the product alone.
#include "bench/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>

#include "base/storage.h"
#include "bench/calls.h"
#include "product/contract.h"
#include "product/weights.h"
#include "tape/tape.h"
#include "tenon/error.h"
#include "tenon/threads.h"
#include "tenon/version.h"

namespace bench {
namespace {

namespace product = tenon::product;
namespace tape = tenon::tape;
using tape::Opcode;
using tenon::DType;
using Act = LinearKind::Act;

constexpr DType kFloat = DType::float32;
// The first three inputs of a layer's tape; constants follow.
enum : std::uint8_t { kSum, kBias, kThird };

/// What follows the product, in float32: its tape, and the tape's inputs from the second on. The third is the residual,
/// in u8s8 the scales of the columns. In a tape inputs are numbered before instructions, so constants come first.
class LinearTape {
  public:
    LinearTape(const Problem& problem, const Operands& operands) : shape_{problem.shape.m, problem.shape.n} {
        const TypeTraits& t = traits(problem.type);
        const std::int64_t n = problem.shape.n;
        quantized_ = problem.type == Type::u8s8;
        if (quantized_) {
            scales_.resize(static_cast<std::size_t>(n)), biases_ = scales_;
            for (std::int64_t j = 0; j < n; ++j) {
                scales_[static_cast<std::size_t>(j)] = linear_scale(problem, j);
                biases_[static_cast<std::size_t>(j)] = linear_bias(j);
            }
            input(biases_.data(), kFloat, 0, 1), input(scales_.data(), kFloat, 0, 1);
        } else {
            const auto* bias =
                operands.b_as<std::byte>() + problem.shape.k * n * static_cast<std::int64_t>(tenon::size_of(t.b));
            input(bias, t.b, 0, 1), input(bias + n * static_cast<std::int64_t>(tenon::size_of(t.b)), t.b, n, 1);
        }
        tape_.inputs = {t.c, quantized_ ? kFloat : t.b, quantized_ ? kFloat : t.b};
        for (const float& constant : constants_of(problem.linear->act)) {
            tape_.inputs.push_back(kFloat);
            input(&constant, kFloat, 0, 0);
        }
        write(problem.linear->act, problem.c_dtype());
    }
    LinearTape(const LinearTape&) = delete;
    LinearTape& operator=(const LinearTape&) = delete;

    product::Epilogue epilogue() const { return {tape_, inputs_}; }
    /// Over a product that is stored.
    void run(const tenon::View& sums, const tenon::View& out) {
        std::vector<tenon::View> inputs{sums};
        inputs.insert(inputs.end(), inputs_.begin(), inputs_.end());
        tape::run(tape_, inputs, {&out, 1}, &plan_);
    }

  private:
    const std::vector<float>& constants_of(Act act) {
        if (quantized_) constants_ = {kScaleX, kScaleY, static_cast<float>(kZeroY)};
        first_ = kThird + 1 + static_cast<std::uint8_t>(constants_.size());
        if (act == Act::relu) constants_.insert(constants_.end(), {0.0F});
        if (act == Act::gelu) constants_.insert(constants_.end(), {0.5F, 1 / std::numbers::sqrt2_v<float>, 1.0F});
        if (act == Act::gelu_tanh) constants_.insert(constants_.end(), {0.5F, 0.7978845608F, 1.0F, 0.044715F});
        return constants_;
    }
    void input(const void* data, DType dtype, std::int64_t row, std::int64_t column) {
        tenon::View v{const_cast<void*>(data), dtype, tenon::Layout::contiguous(shape_)};
        v.layout.strides[0] = row, v.layout.strides[1] = column;
        inputs_.push_back(v);
    }
    std::uint8_t step(Opcode op, std::uint8_t x, std::uint8_t y = 0) { return step(op, kFloat, kFloat, x, y); }
    std::uint8_t step(Opcode op, DType from, DType to, std::uint8_t x, std::uint8_t y = 0) {
        tape_.code.push_back({op, from, to, {x, y, 0}});
        return static_cast<std::uint8_t>(tape_.inputs.size() + tape_.code.size() - 1);
    }
    std::uint8_t wide(std::uint8_t x) {
        const DType from = tape_.inputs[x];
        return from == kFloat ? x : step(Opcode::cast, from, kFloat, x);
    }
    std::uint8_t activate(Act act, std::uint8_t x) {
        const std::uint8_t c = first_;
        if (act == Act::relu) return step(Opcode::maximum, x, c);
        if (act == Act::silu) return step(Opcode::multiply, x, step(Opcode::logistic, x));
        if (act == Act::none) return x;
        std::uint8_t inner = 0;
        if (act == Act::gelu) {
            inner = step(Opcode::erf, step(Opcode::multiply, x, c + 1));
        } else {
            const std::uint8_t scaled = step(Opcode::multiply, x, c + 1);
            inner = step(Opcode::multiply, step(Opcode::multiply, x, c + 3), x);
            inner = step(Opcode::tanh, step(Opcode::multiply, scaled, step(Opcode::add, inner, c + 2)));
        }
        return step(Opcode::multiply, step(Opcode::multiply, x, c), step(Opcode::add, inner, c + 2));
    }
    void write(Act act, DType out) {
        std::uint8_t x = wide(kSum);
        if (quantized_) x = step(Opcode::multiply, step(Opcode::multiply, x, kThird + 1), kThird);
        x = activate(act, step(Opcode::add, x, wide(kBias)));
        if (quantized_) {
            x = step(Opcode::round, step(Opcode::divide, x, kThird + 2));
            x = step(Opcode::add, x, kThird + 3);
        } else {
            x = step(Opcode::add, x, wide(kThird));
        }
        if (out != kFloat) x = step(Opcode::cast, kFloat, out, x);
        tape_.outputs = {x};
    }

    tenon::Shape shape_;
    bool quantized_ = false;
    std::vector<float> scales_, biases_, constants_;
    std::uint8_t first_ = 0;  // the register of the activation's first constant
    tape::Tape tape_;
    std::vector<tenon::View> inputs_;
    tape::CachedPlan plan_;
};

struct Layer {
    tenon::View a, b, out, sums;
    product::Finish finish;
    std::shared_ptr<tenon::Storage> owner;
    Buffer memory;  // of the sums
    LinearTape tape;

    Layer(const Problem& p, const Operands& o)
        : memory(p.c_elements() * static_cast<std::int64_t>(tenon::size_of(traits(p.type).c))), tape(p, o) {
        const TypeTraits& t = traits(p.type);
        const auto view = [](const void* data, DType dtype, std::int64_t rows, std::int64_t columns) {
            return tenon::View{const_cast<void*>(data), dtype, tenon::Layout::contiguous({rows, columns})};
        };
        a = view(o.a.data(), t.a, p.shape.m, p.shape.k), b = view(o.b.data(), t.b, p.shape.k, p.shape.n);
        out = view(o.c.data(), p.c_dtype(), p.shape.m, p.shape.n);
        sums = view(memory.data(), t.c, p.shape.m, p.shape.n);
        if (p.type == Type::u8s8) finish.zero_a = kZeroX;
        if (!p.weights.packed) return;
        // Weights of a graph that comes back: they are packed at the second call, which is not timed.
        owner = tenon::Storage::allocate(64);
        b.owner = owner.get();
    }

    void multiply(const tenon::View& c, const product::Epilogue* epilogue) const {
        static constexpr std::uint8_t kRows[] = {0, 1}, kColumns[] = {1, 2}, kBoth[] = {0, 2};
        if (owner) product::next_evaluation();
        product::contract(a, b, c, {kRows, kColumns, kBoth}, finish, epilogue);
    }
};

enum class How : std::uint8_t { fused, unfused, product };

Prepared prepare(const Problem& problem, const Operands& operands, How how) {
    const auto layer = std::make_shared<Layer>(problem, operands);
    if (how == How::fused)
        return call_all([layer] {
            const product::Epilogue epilogue = layer->tape.epilogue();
            layer->multiply(layer->out, &epilogue);
        });
    if (how == How::unfused)
        return call_all([layer] {
            layer->multiply(layer->sums, nullptr);
            layer->tape.run(layer->sums, layer->out);
        });
    Prepared alone = call_all([layer] { layer->multiply(layer->sums, nullptr); });
    alone.fetch = [layer] { layer->tape.run(layer->sums, layer->out); };
    return alone;
}

}  // namespace

float linear_scale(const Problem& problem, std::int64_t column) {
    return static_cast<float>(1 + column % 4) / (64 * std::sqrt(static_cast<float>(problem.shape.k)));
}

float linear_bias(std::int64_t column) { return static_cast<float>(column % 7 - 3) / 4; }

double activated(Act act, double x) {
    switch (act) {
        case Act::relu:
            return std::max(x, 0.0);
        case Act::gelu:
            return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
        case Act::gelu_tanh:
            return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
        case Act::silu:
            return x / (1 + std::exp(-x));
        default:
            return x;
    }
}

double linear_element(const Problem& problem, double sum, double bias, double residual, std::int64_t column) {
    const Act act = problem.linear->act;
    if (problem.type != Type::u8s8) return activated(act, sum + bias) + residual;
    const double x = double{kScaleX} * double{linear_scale(problem, column)} * sum + double{linear_bias(column)};
    return std::clamp(std::nearbyint(activated(act, x) / double{kScaleY}) + kZeroY, 0.0, 255.0);
}

double linear_tolerance(const Problem& problem) {
    if (problem.type == Type::u8s8) return 1;
    // Sums are rarely above twice the square root of k.
    if (problem.type == Type::bf16) return 0x1p-8 * (2 * std::sqrt(static_cast<double>(problem.shape.k)) + 4);
    return 2 * double{std::numeric_limits<float>::epsilon()} * static_cast<double>(problem.shape.k + 32);
}

std::vector<Peer> linear_peers(const std::vector<Peer>& others) {
    const auto all = [](const Problem&) { return std::string(); };
    const auto by = [](How how) { return [how](const Problem& p, const Operands& o) { return prepare(p, o, how); }; };
    const auto threads = [](int n) { tenon::set_num_threads(n); };
    std::vector<Peer> peers = {{"tenon", TENON_VERSION, all, by(How::fused), threads},
                               {"unfused", TENON_VERSION, all, by(How::unfused), threads},
                               {"product", TENON_VERSION, all, by(How::product), threads}};
    std::copy_if(others.begin(), others.end(), std::back_inserter(peers),
                 [](const Peer& other) { return other.takes_linear; });
    return peers;
}

}  // namespace bench
