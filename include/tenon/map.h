// Linear maps: a layer's weight as something that knows how to apply itself, its adjoint, its cost and its rank. A map
// acts on the last axis: y = x W^T, with W (out, in), x (..., in) and y (..., out).
//
// Structures (d = in = out, MAC = multiply-adds a row):
//   Dense               d^2 parameters and MAC
//   Diagonal            d parameters and MAC
//   WalshHadamard       no parameters, d log2 d additions
//   LowRank             W = U V, 2 k d parameters and MAC
//   Kronecker           W = A (x) B, 2 d parameters, 2 d^1.5 MAC
//   TensorTrain         two cores of rank r: 2 r d parameters, 2 r d^1.5 MAC   (Oseledets 2011; Novikov et al. 2015)
//   Monarch             two block diagonal factors of b blocks: 2 d^2 / b      (Dao et al., arXiv 2204.00595)
//   BlockTensorTrain    2 r d^1.5 parameters and MAC                          (Qiu et al., arXiv 2406.06248)
//
// ```cpp
// const LinearMap layer = map::BlockTensorTrain::random(random::Key(7), /*out*/ 1024, /*in*/ 4096, {.rank = 2});
// const Tensor y = layer(ones({5, 4096}));
// assert(y.shape() == (Shape{5, 1024}));
// assert(layer.cost().multiply_adds == 2 * 64 * 32 * (64 + 32));
// ```
//
// The last five are one class, TwoFactor: the two-factor einsum family of Potapczynski et al. (arXiv 2410.02117).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/random.h"
#include "tenon/tree.h"

namespace tenon {

class LinearMap;

/// The optimizer that factors of the learning rate are for. Both keep the size of a step's change of y that a dense
/// layer has: Adam's steps have the size of the rate, SGD's also that of the gradient.
enum class RateRule : std::uint8_t { adam, sgd };

namespace map {

/// What applying a map to some rows costs. Additions that have no product count as multiply-adds.
struct Cost {
    std::int64_t multiply_adds = 0;
    std::int64_t parameters = 0;
    std::int64_t bytes = 0;  // input, output and parameters once, intermediates written and read
};

class Structure;
using StructurePtr = std::shared_ptr<const Structure>;

/// How a map's parameters make its product. Sizes, but no arrays: the parameters come with each call, so that one
/// immutable structure serves every step of a training run. To add a structure, derive from this and give the first
/// three functions; each of the others has a default, asked for by returning nothing, and LinearMap::describe names the
/// defaults that cost more than the product.
class TENON_API Structure {
  public:
    virtual ~Structure();

    /// As errors and descriptions show it.
    virtual std::string name() const = 0;
    /// {out, in}.
    virtual Shape shape() const = 0;
    /// x (..., in) -> (..., out), linear in x, of differentiable operations.
    virtual Tensor apply(const Tree& parameters, const Tensor& x) const = 0;

    /// A structure whose apply, with the same parameters, is the adjoint. Default: the derivative of apply, transposed.
    virtual StructurePtr adjoint() const;
    /// W (out, in). Default: apply to the identity, `in` rows.
    virtual Tensor to_dense(const Tree& parameters) const;
    /// The min(out, in) elements W[i, i]. Default: from to_dense.
    virtual Tensor diagonal(const Tree& parameters) const;
    /// Default: the sum over the operations that apply records.
    virtual std::optional<Cost> cost(const Tree& parameters, std::int64_t rows) const;
    /// No rank is above this. Default: min(out, in).
    virtual std::optional<std::int64_t> rank_bound() const;
    /// See LinearMap::learning_rates. Default: 1 for each parameter.
    virtual std::optional<Tree> learning_rates(const Tree& parameters, RateRule rule) const;
    /// The maps this one is made of, for describe. Default: none.
    virtual std::vector<LinearMap> parts(const Tree& parameters) const;
};

}  // namespace map

/// A linear map: a structure and its parameters. A value; copies share both.
class [[nodiscard, gnu::visibility("default")]] LinearMap {
  public:
    /// No map: it has no parameters, and what needs a structure throws ValueError.
    LinearMap() = default;
    /// A structure with its parameters, in the tree that it expects. Throws ValueError for no structure, ShapeError for
    /// one without inputs or outputs.
    LinearMap(map::StructurePtr structure, Tree parameters);

    bool defined() const { return structure_ != nullptr; }
    /// {out, in}.
    Shape shape() const { return structure().shape(); }
    std::int64_t out() const { return shape()[0]; }
    std::int64_t in() const { return shape()[1]; }
    /// What makes the product of the parameters; to be shared with other maps.
    const map::Structure& structure() const { return *structure_ptr(); }
    const map::StructurePtr& structure_ptr() const;

    /// x (..., in) -> (..., out). Throws ShapeError.
    Tensor operator()(const Tensor& x) const;
    /// W^T, sharing the parameters.
    LinearMap adjoint() const;
    /// The adjoint: the maps are real.
    LinearMap transpose() const { return adjoint(); }

    /// A lone tensor for Dense and Diagonal, "A" and "B" for two factors, "0" and "1" (the operands' own) for a
    /// composition, sum or Hadamard product, nothing for a map without parameters.
    const Tree& parameters() const { return parameters_; }
    /// The same structure with other parameters. Throws ShapeError unless names and shapes agree, TypeError where one
    /// is floating and the other is not.
    LinearMap with_parameters(const Tree& parameters) const;

    /// Of applying it to `rows` vectors. Throws ValueError where that does not fit 63 bits.
    map::Cost cost(std::int64_t rows = 1) const;
    /// No rank is above this.
    std::int64_t rank_bound() const;
    /// W (out, in); equal to the product to rounding.
    Tensor to_dense() const;
    /// W[i, i], i < min(out, in).
    Tensor diagonal() const;

    /// For each parameter a float64 scalar: the factor of the learning rate, relative to a dense layer's, that keeps
    /// the size of a step's change of y, each core seen as its own matrix (Qiu et al., arXiv 2406.06248):
    ///   Adam  (d_in of the map / d_in of the core) / (number of cores)
    ///   SGD   (d_out / d_in of the core) / (d_out / d_in of the map) / (number of cores)
    /// Block tensor train of rank r, Adam: sqrt(d) / 2 and sqrt(d) / (2 r). A map scaled by s divides Adam's factors by
    /// |s| and SGD's by s^2, unless s is 0.
    Tree learning_rates(RateRule rule = RateRule::adam) const;

    /// One line: name, sizes, parameters, multiply-adds a row; then a line for each default that costs more than the
    /// product, and the parts.
    std::string describe() const;

  private:
    map::StructurePtr structure_;
    Tree parameters_;
};

/// The composition: (a * b)(x) = a(b(x)). Throws ShapeError unless a.in() == b.out().
TENON_API LinearMap operator*(const LinearMap& a, const LinearMap& b);
/// The sum. Throws ShapeError unless the shapes agree.
TENON_API LinearMap operator+(const LinearMap& a, const LinearMap& b);
/// s W. The number is not a parameter.
TENON_API LinearMap operator*(double s, const LinearMap& a);
/// The elementwise product of the matrices. With a Diagonal factor, a diagonal map; with a LowRank factor of rank k, k
/// scaled applications of the other: sum_i diag(u_i) M diag(v_i). Else both matrices are formed in each application:
/// out * in multiply-adds beside their to_dense, and the dense product.
TENON_API LinearMap hadamard(const LinearMap& a, const LinearMap& b);

namespace map {

/// How a random map is made. A structure that has no use for a field throws ValueError when it is set.
struct Options {
    /// LowRank: k, by default ceil(sqrt(min(out, in))). TensorTrain: by default 16. BlockTensorTrain: by default 1. At
    /// least 1, and no more than adds to the matrices (LowRank: min(out, in); BlockTensorTrain: the smaller side of a
    /// block; TensorTrain: the elements of the smaller core's matrix), else ValueError; TensorTrain's default is cut
    /// to that.
    std::optional<std::int64_t> rank = {};
    /// Monarch: blocks of each factor, by default 4.
    std::optional<std::int64_t> blocks = {};
    /// Kronecker, TensorTrain, BlockTensorTrain: the two factors of a width, small one first, instead of `factorize`.
    std::optional<std::array<std::int64_t, 2>> in_factors = {}, out_factors = {};
    /// Zeros in the last core (all of a Dense map): the map starts at zero and still learns.
    bool zero_last = false;
    DType dtype = DType::float32;
};

/// Two factors of a width, smaller first. The greedy split (primes ascending, each to the smaller factor) if its ratio
/// is at most 4; otherwise the most balanced exact split if its ratio is at most 2; otherwise, with the input padded
/// with zeros and the output cut, the two most balanced factors, of ratio at most 4, whose product is at most 15 %
/// above the width. 3072 -> 32, 96; 11008 -> 86, 128; 37 -> 6, 7; 10007 -> 101, 101. Throws ShapeError for a width
/// without such factors.
TENON_API std::array<std::int64_t, 2> factorize(std::int64_t width);

// The constructors of random maps take a key, the sizes and Options. Each core, seen as its own matrix, is normal with
// standard deviation sqrt(min(d_in, d_out)) / d_in (arXiv 2406.06248). Sizes below 1 and blocks or widths that do not
// fit throw ShapeError, ranks below 1 ValueError.

struct TENON_API Dense {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// weight: (out, in).
    static LinearMap from(const Tensor& weight);
};

struct TENON_API Diagonal {
    /// Standard normal. Throws ShapeError unless out == in.
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// diagonal: (d,).
    static LinearMap from(const Tensor& diagonal);
};

/// H / sqrt(n), H_2n = [[H, H], [H, -H]]: symmetric and orthonormal where out = in = n is a power of two. Otherwise n
/// is the next power of two; the input is padded with zeros, the output cut. n log2 n additions in log2 n stages.
/// At most 2^32 inputs and outputs (ShapeError).
struct TENON_API WalshHadamard {
    static LinearMap of(std::int64_t out, std::int64_t in);
};

/// The axis sizes of a two-factor map.
struct Theta {
    std::int64_t alpha = 1, beta = 1, gamma = 1, delta = 1, epsilon = 1, phi = 1, rho = 1;

    std::int64_t in() const { return gamma * beta * alpha; }
    std::int64_t out() const { return phi * epsilon * delta; }
    friend bool operator==(const Theta&, const Theta&) = default;
};

/// Two factors of the einsum family (arXiv 2410.02117): x is seen as (gamma, beta, alpha), y as (phi, epsilon, delta),
/// and
///   Z[phi, delta, rho, gamma, beta] = sum over alpha      of A[phi, delta, rho, gamma, alpha] x[gamma, beta, alpha]
///   y[phi, epsilon, delta]          = sum over rho, gamma, beta of B[phi, epsilon, rho, gamma, beta] Z.
/// MAC a row: beta gamma delta phi rho (alpha + epsilon); Z has phi delta rho gamma beta elements a row. Two
/// `contract`s on strided views; nothing is copied (x only where it is padded). The adjoint applies B first, at the
/// same cost.
class TENON_API TwoFactor final : public Structure {
  public:
    /// The axis sizes may exceed `out` and `in` by 15 %; x is then padded with zeros, y cut. Throws ShapeError.
    TwoFactor(std::string name, const Theta& theta, std::int64_t out, std::int64_t in, bool transposed = false);

    static LinearMap random(const random::Key& key, const Theta& theta, std::int64_t out, std::int64_t in,
                            const Options& options = {});
    /// A (phi, delta, rho, gamma, alpha), B (phi, epsilon, rho, gamma, beta); out and in as the axes say.
    static LinearMap from(const Tensor& a, const Tensor& b);
    static LinearMap from(const Tensor& a, const Tensor& b, std::int64_t out, std::int64_t in,
                          std::string name = "TwoFactor");

    /// Of the map that is not transposed.
    const Theta& theta() const { return theta_; }
    bool transposed() const { return transposed_; }

    std::string name() const override;
    Shape shape() const override;
    Tensor apply(const Tree& parameters, const Tensor& x) const override;
    StructurePtr adjoint() const override;
    Tensor to_dense(const Tree& parameters) const override;
    std::optional<Cost> cost(const Tree& parameters, std::int64_t rows) const override;
    std::optional<std::int64_t> rank_bound() const override;
    std::optional<Tree> learning_rates(const Tree& parameters, RateRule rule) const override;

  private:
    std::string name_;
    Theta theta_;
    std::int64_t out_, in_;
    bool transposed_;
};

/// W = U V: alpha = in, rho = k, epsilon = out. k (in + out) parameters and MAC.
struct TENON_API LowRank {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// u: (out, k), v: (k, in).
    static LinearMap from(const Tensor& u, const Tensor& v);
};

/// W = left (x) right: beta, epsilon from left, alpha, delta from right.
struct TENON_API Kronecker {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// left: (m1, n1), right: (m2, n2); W is (m1 m2, n1 n2).
    static LinearMap from(const Tensor& left, const Tensor& right);
};

/// A sum of `rank` Kronecker products, the matrix of a two-core tensor train.
struct TENON_API TensorTrain {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// a: (delta, rho, alpha), b: (epsilon, rho, beta).
    static LinearMap from(const Tensor& a, const Tensor& b);
};

/// `blocks` x `blocks` blocks, each of rank ceil(min(in, out) / blocks / blocks): a block tensor train with gamma = phi
/// = blocks. The output is in order, not strided by blocks as in the paper's code.
struct TENON_API Monarch {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// a: (blocks, rho, blocks, alpha), b: (blocks, epsilon, rho, blocks).
    static LinearMap from(const Tensor& a, const Tensor& b);
};

/// A phi x gamma grid of epsilon x alpha blocks, each of rank `rank`; alpha <= gamma, phi <= epsilon.
struct TENON_API BlockTensorTrain {
    static LinearMap random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& options = {});
    /// a: (phi, rho, gamma, alpha), b: (phi, epsilon, rho, gamma).
    static LinearMap from(const Tensor& a, const Tensor& b);
};

/// A structure that `random` makes, and which of Options it takes.
struct NamedStructure {
    std::string_view name;
    bool has_rank, has_blocks;
};

/// dense, low-rank, kronecker, tensor-train, monarch, btt.
TENON_API std::vector<NamedStructure> structures();

/// A random map by the name of one of `structures`. Throws ValueError listing the names for any other.
TENON_API LinearMap random(std::string_view structure, const random::Key& key, std::int64_t out, std::int64_t in,
                           const Options& options = {});

}  // namespace map
}  // namespace tenon
