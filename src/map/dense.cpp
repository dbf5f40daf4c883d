// Dense and Diagonal.
#include "base/text.h"
#include "map/labels.h"
#include "map/structure.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon::map {
namespace {

class DenseStructure final : public Structure {
  public:
    DenseStructure(std::int64_t out, std::int64_t in, bool transposed) : out_(out), in_(in), transposed_(transposed) {}
    std::string name() const override { return transposed_ ? "Dense^T" : "Dense"; }
    Shape shape() const override { return {out_, in_}; }
    StructurePtr adjoint() const override { return std::make_shared<DenseStructure>(in_, out_, !transposed_); }

    Tensor apply(const Tree& parameters, const Tensor& x) const override {
        constexpr std::uint8_t kIn = 0, kOut = 1;
        const Labels w = transposed_ ? Labels{kIn, kOut} : Labels{kOut, kIn};
        return contract_rows(x, {kIn}, Rows::first, parameters.tensor(), w, {kOut}, Rows::first);
    }

    Tensor to_dense(const Tree& parameters) const override {
        return transposed_ ? transposed(parameters.tensor()) : parameters.tensor();
    }
    std::optional<Cost> cost(const Tree& parameters, std::int64_t rows) const override {
        return make_cost(parameters, rows, in_, out_, product_of({in_, out_}));
    }
    std::optional<Tree> learning_rates(const Tree&, RateRule) const override { return number(1); }

  private:
    std::int64_t out_, in_;
    bool transposed_;
};

class DiagonalStructure final : public Structure {
  public:
    explicit DiagonalStructure(std::int64_t size) : size_(size) {}
    std::string name() const override { return "Diagonal"; }
    Shape shape() const override { return {size_, size_}; }
    StructurePtr adjoint() const override { return std::make_shared<DiagonalStructure>(size_); }
    Tensor apply(const Tree& parameters, const Tensor& x) const override { return x * parameters.tensor(); }

    Tensor to_dense(const Tree& parameters) const override {
        const Tensor& d = parameters.tensor();
        return identity(size_, d.dtype()) * d;
    }
    Tensor diagonal(const Tree& parameters) const override { return parameters.tensor(); }
    std::optional<Cost> cost(const Tree& parameters, std::int64_t rows) const override {
        return make_cost(parameters, rows, size_, size_, size_);
    }
    std::optional<Tree> learning_rates(const Tree&, RateRule) const override { return number(1); }

  private:
    std::int64_t size_;
};

}  // namespace

StructurePtr dense(std::int64_t out, std::int64_t in) { return std::make_shared<DenseStructure>(out, in, false); }
StructurePtr diagonal(std::int64_t size) { return std::make_shared<DiagonalStructure>(size); }
bool is_dense(const Structure& s) { return dynamic_cast<const DenseStructure*>(&s) != nullptr; }
bool is_diagonal(const Structure& s) { return dynamic_cast<const DiagonalStructure*>(&s) != nullptr; }

LinearMap Dense::from(const Tensor& weight) {
    if (weight.rank() != 2)
        throw ShapeError(text("Dense: a weight of shape ", to_string(weight.shape()), " is not (out, in)"));
    return {dense(weight.shape()[0], weight.shape()[1]), weight};
}

LinearMap Diagonal::from(const Tensor& diagonal) {
    if (diagonal.rank() != 1)
        throw ShapeError(text("Diagonal: elements of shape ", to_string(diagonal.shape()), ", not (d,)"));
    return {map::diagonal(diagonal.shape()[0]), diagonal};
}

}  // namespace tenon::map
