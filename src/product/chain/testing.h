// Chains of random operands, for tests: the einsum family of two factors, and other chains of this form.
#pragma once

#include <memory>
#include <string>

#include "base/text.h"
#include "product/chain/chain.h"
#include "product/testing.h"

namespace tenon::product::testing {

/// a, b -> z and z, c -> out as text ("tgba,fdrga->tfdrgb", "tfdrgb,fergb->tfed"): one letter for each axis. The second
/// equation may read z's axes in any order; if z is its second operand, c is its a.
struct Pair {
    std::string first, second;
    std::vector<std::pair<char, std::int64_t>> extents;
    DType dtype = DType::float32, out = DType::float32;
    bool z_is_a = true;
    Storage a = Storage::row_major, b = Storage::row_major, c = Storage::row_major, y = Storage::row_major;
    unsigned seed = 1;
};

/// The family of two factors: x (t, gamma, beta, alpha), A (phi, delta, rho, gamma, alpha), B (phi, epsilon, rho,
/// gamma, beta); and its adjoint. z's axes as linear maps have them, the rows last.
struct Theta {
    std::int64_t alpha, beta, gamma, delta, epsilon, phi, rho;
};

inline Pair structure(const Theta& t, std::int64_t rows, bool adjoint = false) {
    Pair p;
    p.extents = {{'a', t.alpha},   {'b', t.beta}, {'g', t.gamma}, {'d', t.delta},
                 {'e', t.epsilon}, {'f', t.phi},  {'r', t.rho},   {'t', rows}};
    p.first = adjoint ? "tfed,fergb->fdrgbt" : "tgba,fdrga->fdrgbt";
    p.second = adjoint ? "fdrgbt,fdrga->tgba" : "fdrgbt,fergb->tfed";
    return p;
}

inline std::string describe(const Pair& p) {
    std::string s = text(p.first, " ", p.second, " ", name(p.dtype), " -> ", name(p.out), ", storage ", int(p.a),
                         int(p.b), int(p.c), int(p.y), ", seed ", p.seed, ":");
    for (const auto& [letter, extent] : p.extents) s += text(" ", letter, "=", extent);
    return s;
}

/// The operands and labels that a Chain points to.
class Operands {
  public:
    explicit Operands(const Pair& pair)
        : pair_(pair),
          first_(pair.first),
          second_(pair.second),
          a_(pair.dtype, first_.shape_a(pair.extents), pair.a, pair.seed),
          b_(pair.dtype, first_.shape_b(pair.extents), pair.b, pair.seed + 1),
          c_(pair.dtype, pair.z_is_a ? second_.shape_b(pair.extents) : second_.shape_a(pair.extents), pair.c,
             pair.seed + 2),
          out_(pair.out, second_.shape_out(pair.extents), pair.y, pair.seed + 3) {
        a_.randomize(pair.seed), b_.randomize(pair.seed + 1), c_.randomize(pair.seed + 2);
    }
    Operands(const Operands&) = delete;
    Operands& operator=(const Operands&) = delete;

    Chain chain() {
        Chain chain;
        chain.a = a_.view(), chain.b = b_.view(), chain.first = first_.labels();
        chain.product = pair_.dtype;
        chain.c = c_.view(), chain.z_is_a = pair_.z_is_a, chain.second = second_.labels();
        chain.out = out_.view();
        // The order in which the second equation has z's letters.
        const auto wanted = pair_.z_is_a ? chain.second.a : chain.second.b;
        const Layout z = Layout::contiguous(first_.shape_out(pair_.extents));
        chain.reading.shape = z.shape, chain.reading.strides = z.strides;
        for (std::size_t i = 0; i < wanted.size(); ++i)
            for (std::size_t j = 0; j < chain.first.out.size(); ++j)
                if (wanted[i] == chain.first.out[j]) {
                    chain.reading.shape[static_cast<int>(i)] = z.shape[static_cast<int>(j)];
                    chain.reading.strides[static_cast<int>(i)] = z.strides[static_cast<int>(j)];
                }
        return chain;
    }

    Array& a() { return a_; }
    Array& b() { return b_; }
    Array& c() { return c_; }
    Array& out() { return out_; }

  private:
    Pair pair_;
    Equation first_, second_;
    Array a_, b_, c_, out_;
};

/// The law: both products and the tape, one element at a time.
inline void run_reference(const Chain& chain) {
    Array z(chain.product, intermediate_shape(chain));
    contract_reference(chain.a, chain.b, z.view(), chain.first);
    DType type = chain.product;
    std::unique_ptr<Array> mapped;
    View reading = z.view();
    if (chain.between) {
        const tape::Tape& tape = chain.between->tape;
        type = tape::type_of(tape, tape.outputs[0]);
        mapped = std::make_unique<Array>(type, intermediate_shape(chain));
        std::vector<View> inputs{z.view()};
        inputs.insert(inputs.end(), chain.between->inputs.begin(), chain.between->inputs.end());
        const View to = mapped->view();
        tape::run_reference(tape, inputs, {&to, 1});
        reading = to;
    }
    const auto keep = [](const View* to, const View& from) {
        if (to) tape::run_reference(tape::Tape{{from.dtype}, {}, {0}}, {&from, 1}, {to, 1});
    };
    keep(chain.kept_product, z.view());
    keep(chain.kept_intermediate, reading);
    if (chain.reading.rank() != 0) reading = with_layout(reading, chain.reading);
    View product = chain.out;
    std::unique_ptr<Array> before;
    if (chain.epilogue) {
        before = std::make_unique<Array>(chain.epilogue->tape.inputs[0], chain.out.shape());
        product = before->view();
    }
    if (chain.z_is_a)
        contract_reference(reading, chain.c, product, chain.second, chain.finish);
    else
        contract_reference(chain.c, reading, product, chain.second, chain.finish);
    if (!chain.epilogue) return;
    std::vector<View> inputs{product};
    inputs.insert(inputs.end(), chain.epilogue->inputs.begin(), chain.epilogue->inputs.end());
    tape::run_reference(chain.epilogue->tape, inputs, {&chain.out, 1});
}

}  // namespace tenon::product::testing
