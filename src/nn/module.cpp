#include "tenon/module.h"

#include "base/text.h"
#include "tensor/same_names.h"

namespace tenon::nn::members {
namespace {

Tensor one() { return Tensor::from<double>({1}, {}); }

}  // namespace

Tree TakeLearningRates::operator()(const Tensor& t) const { return t.defined() ? Tree(one()) : Tree(); }
Tree TakeLearningRates::operator()(const LinearMap& m) const { return m.defined() ? m.learning_rates(rule) : Tree(); }

void replace(Tensor& member, const Tree& with, const std::string& path) {
    const Tensor& t = with.tensor();
    if (t.shape() != member.shape())
        throw ShapeError(
            text("with_parameters: \"", path, "\" is ", to_string(t.shape()), ", not ", to_string(member.shape())));
    member = t;
}

void replace(LinearMap& member, const Tree& with, const std::string& path) {
    try {
        member = member.with_parameters(with);
    } catch (const ShapeError& e) {
        throw ShapeError(text("with_parameters: \"", path, "\": ", e.what()));
    }
}

void check_names(const Tree& expected, const Tree& given) {
    if (same_names(expected, given)) return;
    const auto names = expected.flatten(), other = given.flatten();
    for (std::size_t i = 0; i < std::max(names.size(), other.size()); ++i) {
        if (i >= other.size()) throw ValueError(text("with_parameters: \"", names[i].first, "\" is missing"));
        if (i >= names.size() || names[i].first != other[i].first)
            throw ValueError(text("with_parameters: \"", other[i].first, "\" is not a parameter, or not in its place"));
    }
}

}  // namespace tenon::nn::members
