// The Walsh-Hadamard transform: log2 n stages of sums and differences.
#include <bit>
#include <cmath>

#include "base/text.h"
#include "map/structure.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon::map {
namespace {

class WalshHadamardStructure final : public Structure {
  public:
    WalshHadamardStructure(std::int64_t out, std::int64_t in)
        : out_(out),
          in_(in),
          n_(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(out, in))))) {}
    std::string name() const override { return "WalshHadamard"; }
    Shape shape() const override { return {out_, in_}; }
    StructurePtr adjoint() const override { return std::make_shared<WalshHadamardStructure>(in_, out_); }

    Tensor apply(const Tree&, const Tensor& x) const override {
        Tensor y = fit_last(x, n_);
        const Shape whole = y.shape();
        // Every stage combines pairs of neighbouring blocks. The first of three axes counts rows and pairs.
        for (std::int64_t half = 1; half < n_; half *= 2) {
            const Tensor pairs = reshape(y, {x.size() / in_ * (n_ / (2 * half)), 2, half});
            const Extents end = pairs.shape();
            const Tensor first = slice(pairs, {0, 0, 0}, {end[0], 1, half}, {1, 1, 1});
            const Tensor second = slice(pairs, {0, 1, 0}, end, {1, 1, 1});
            const Tensor joined[] = {first + second, first - second};
            y = concat(joined, 1);
        }
        return fit_last(reshape(y, whole) * (1 / std::sqrt(static_cast<double>(n_))), out_);
    }

    std::optional<Cost> cost(const Tree& parameters, std::int64_t rows) const override {
        const std::int64_t stages = std::bit_width(static_cast<std::uint64_t>(n_)) - 1;
        return make_cost(parameters, rows, in_, out_, n_ * stages, n_ * stages);
    }

  private:
    std::int64_t out_, in_, n_;
};

}  // namespace

LinearMap WalshHadamard::of(std::int64_t out, std::int64_t in) {
    check_sizes("WalshHadamard", out, in);
    constexpr std::int64_t kLargest = std::int64_t{1} << 32;
    if (std::max(out, in) > kLargest)
        throw ShapeError(text("WalshHadamard: a map of ", in, " inputs and ", out, " outputs; at most ", kLargest));
    return {std::make_shared<WalshHadamardStructure>(out, in), Tree()};
}

}  // namespace tenon::map
