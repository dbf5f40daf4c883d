// What the tests of the public products share: machine settings, matrices from arrays, error messages.
#pragma once

#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/testing.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::product::testing {

/// An instruction set, and the use of its dot products of narrow elements.
struct Setting {
    Isa isa;
    dense::Dot dot;
};

inline std::vector<Setting> settings() {
    std::vector<Setting> all;
    for (const Isa i : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (supported(i)) all.push_back({i, dense::Dot::always});
    if (supported(Isa::avx512)) all.push_back({Isa::avx512, dense::Dot::never});
    return all;
}

struct WithSetting {
    explicit WithSetting(const Setting& s, int threads = 0) : before(isa()) {
        force_isa(s.isa);
        dense::force_dot(s.dot);
        set_num_threads(threads);
    }
    ~WithSetting() {
        force_isa(before);
        dense::force_dot(dense::Dot::usual);
        set_num_threads(0);
    }
    Isa before;
};

/// For an array of (batch, rows, columns).
inline Matrix matrix(Array& x) {
    const View v = x.view();
    const Strides& s = v.layout.strides;
    return {v.data, v.dtype, v.shape()[1], v.shape()[2], s[1], s[2], s[0]};
}

inline bool is_integral(const Types& t) { return t.c == DType::int32; }

/// A product with operands of some types, extents and layouts, whose elements follow from the seed.
struct Problem {
    Types types;
    std::int64_t batch, m, n, k;
    Storage a, b, c;
    GemmOptions options;
    unsigned seed;

    Array left() const { return std::move(Array(types.a, {batch, m, k}, a, seed).randomize(seed)); }
    Array right() const { return std::move(Array(types.b, {batch, k, n}, b, seed + 1).randomize(seed + 1)); }
    Array output() const { return std::move(Array(types.c, {batch, m, n}, c, seed + 2).randomize(seed + 2)); }
    std::string name() const {
        return text(tenon::name(types.a), " ", tenon::name(types.b), " ", tenon::name(types.c), " ", batch, "@", m, "x",
                    n, "x", k, " storage ", int(a), int(b), int(c), " alpha ", options.alpha, " beta ", options.beta,
                    " zeros ", options.zero_a, " ", options.zero_b, " seed ", seed);
    }
};

template <class E, class F>
std::string message_of(F call) {
    try {
        call();
    } catch (const E& e) {
        return e.what();
    } catch (const std::exception& e) {
        return text("another error: ", e.what());
    }
    return "no error";
}

}  // namespace tenon::product::testing
