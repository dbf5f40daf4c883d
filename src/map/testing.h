// What the tests of maps share: one of each kind, and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tenon/functions.h"
#include "tenon/map.h"

namespace tenon::map::testing {

inline Tensor normal(std::uint64_t seed, const Shape& shape) {
    return tenon::random::normal(tenon::random::Key(seed), shape, 0, 1, DType::float64);
}

/// The largest |a - b| over the largest |b|.
inline double distance(const Tensor& a, const Tensor& b) {
    EXPECT_EQ(a.shape(), b.shape());
    const auto x = a.to<double>(), y = b.to<double>();
    double error = 0, size = 1e-300;
    for (std::size_t i = 0; i < x.size(); ++i) {
        error = std::max(error, std::abs(x[i] - y[i]));
        size = std::max(size, std::abs(y[i]));
        if (std::isnan(x[i])) return INFINITY;
    }
    return error / size;
}

/// The user's own structure, with defaults alone: y[i] = w x[i] + x[i + 1].
class Shift final : public Structure {
  public:
    explicit Shift(std::int64_t n) : n_(n) {}
    std::string name() const override { return "Shift"; }
    Shape shape() const override { return {n_ - 1, n_}; }
    Tensor apply(const Tree& p, const Tensor& x) const override {
        const auto parts = [&](std::int64_t from, std::int64_t to) {
            Extents start(x.rank(), 0), stop = x.shape();
            start[x.rank() - 1] = from, stop[x.rank() - 1] = to;
            return slice(x, start, stop, Extents(x.rank(), 1));
        };
        return p.tensor() * parts(0, n_ - 1) + parts(1, n_);
    }

  private:
    std::int64_t n_;
};

inline LinearMap shift(std::int64_t n) { return {std::make_shared<Shift>(n), Tree(Tensor::from<double>({1.5}, {}))}; }

struct Case {
    std::string name;
    LinearMap map;
};

/// One of each, in float64, with paddings and unequal sides.
inline std::vector<Case> cases() {
    auto key = [n = std::uint64_t{0}]() mutable { return tenon::random::Key(++n); };
    const Options f64{.dtype = DType::float64};
    const Options rank2{.rank = 2, .dtype = DType::float64};
    const LinearMap dense = Dense::random(key(), 12, 18, f64), square = Dense::random(key(), 16, 16, f64);
    const LinearMap btt = BlockTensorTrain::random(key(), 12, 18, rank2), low = LowRank::random(key(), 12, 18, rank2);
    const LinearMap diagonal = Diagonal::random(key(), 16, 16, f64), kron = Kronecker::random(key(), 16, 16, f64);
    const Theta generic{.alpha = 4, .beta = 3, .gamma = 2, .delta = 2, .epsilon = 3, .phi = 5, .rho = 2};
    return {{"dense", dense},
            {"diagonal", diagonal},
            {"walsh_hadamard", WalshHadamard::of(16, 16)},
            {"walsh_hadamard_padded", WalshHadamard::of(9, 13)},
            {"low_rank", low},
            {"kronecker", Kronecker::random(key(), 12, 18, f64)},
            {"tensor_train", TensorTrain::random(key(), 15, 16, rank2)},
            {"monarch", Monarch::random(key(), 32, 16, f64)},
            {"monarch_padded", Monarch::random(key(), 15, 31, f64)},
            {"btt", btt},
            {"btt_padded", BlockTensorTrain::random(key(), 37, 41, rank2)},
            {"two_factor", TwoFactor::random(key(), generic, 29, 24, f64)},
            {"shift", shift(7)},
            {"composition", LowRank::random(key(), 9, 12, f64) * btt},
            {"composition_with_default", shift(12) * dense},
            {"sum", dense + btt},
            {"scaled", -2.5 * btt},
            {"hadamard", hadamard(dense, btt)},
            {"hadamard_diagonal", hadamard(kron, diagonal)},
            {"hadamard_low_rank", hadamard(btt, low)},
            {"hadamard_low_rank_transposed", hadamard(low.adjoint(), dense.adjoint())},
            {"nested", hadamard(square * WalshHadamard::of(16, 16), kron) + 0.5 * (diagonal * square)}};
}

inline std::string name_of(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

}  // namespace tenon::map::testing
