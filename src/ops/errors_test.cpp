// Error messages: the function that was called, the operands' shapes and dtypes, where deferred work was recorded.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

const Tensor kF = ones({2, 3}), kI = ones({2, 3}, DType::int32);

TEST(Errors, DtypesThatDoNotPromoteAreNamedWithTheFunction) {
    const std::vector<std::string> types = {"float32", "int32", "(2, 3)"};
    const auto expect = [&](const char* op, const std::function<void()>& f) {
        auto parts = types;
        parts.insert(parts.begin(), op);
        expect_error<TypeError>(f, parts);
    };
    expect("add of", [] { kF + kI; });
    expect("matmul of", [] { matmul(kF, matrix_transpose(kI)); });
    expect("tensordot of", [] { tensordot(kF, kI); });
    expect("vecdot of", [] { vecdot(kF, kI); });
    expect("einsum \"ij,ij\"", [] { einsum("ij,ij", kF, kI); });
    expect("concat of", [] { concat({kF, kI}); });
    expect("stack of", [] { stack({kF, kI}); });
    expect("searchsorted of", [] { searchsorted(ones({3}), kI); });
    expect_error<ShapeError>([] { ones({2}) + ones({3}, DType::float64); }, {"add of (2,)", "(3,) float64"});
    expect_error<TypeError>([] { exp(kI); }, {"exp of (2, 3) int32"});
}

TEST(Errors, AxesAreNamedWithTheShape) {
    expect_error<ShapeError>([] { flip(kF, {5}); }, {"flip of (2, 3)", "axis 5"});
    expect_error<ShapeError>([] { softmax(kF, 2); }, {"softmax of (2, 3)", "axis 2"});
    expect_error<ShapeError>([] { argmax(kF, -3); }, {"argmax of (2, 3)", "axis -3"});
    expect_error<ShapeError>([] { sum(kF, {0, 0}); }, {"sum of (2, 3)", "twice"});
    expect_error<ShapeError>([] { kF.at({0, Slice{0, 2, 0}}); }, {"index", "step 0 for axis 1 of (2, 3)"});
    expect_error<ShapeError>([] { expand_dims(kF, 4); }, {"expand_dims of (2, 3)", "4"});
    const Tensor full = ones(Shape(kMaxRank, 1));
    expect_error<ShapeError>([&] { expand_dims(full); }, {"expand_dims of", "12"});
    expect_error<ShapeError>([&] { stack({full, full}); }, {"stack of", "12"});
    expect_error<ShapeError>([&] { repeat(full, 2, 0); }, {"repeat of", "12"});
    expect_error<ShapeError>([&] { tile(full, {2}); }, {"tile of", "12"});
    expect_error<ShapeError>([&] { take(full, ints({0, 0}, {1, 2})); }, {"gather of", "12"});
    expect_error<ShapeError>([&] { one_hot(ones(Shape(kMaxRank, 1), DType::int32), 3); }, {"one_hot of", "12"});
}

TEST(Errors, NumbersOutsideTheirRangeAreNamedWithTheRule) {
    const random::Key key(1);
    const Tensor labels = ints({0, 1});
    expect_error<ValueError>([&] { random::normal(key, {2}, 0, -1); }, {"random::normal of (2,)", "is not negative"});
    expect_error<ValueError>([&] { key.split(-1); }, {"random::Key::split", "is not negative"});
    expect_error<ValueError>([&] { random::permutation(key, -1); }, {"random::permutation", "n = -1 is negative"});
    expect_error<ValueError>([] { linspace(0, 1, -1); }, {"linspace", "num = -1 is negative"});
    expect_error<ValueError>([&] { one_hot(labels, -2); }, {"one_hot of (2,)", "classes = -2 is negative"});
    expect_error<ValueError>([&] { cross_entropy(kF, labels, 2); }, {"cross_entropy of (2, 3)", "outside [0, 1]"});
    expect_error<ShapeError>([] { tile(kF, {-1, 2}); }, {"tile of (2, 3)", "(-1, 2) is negative"});
    expect_error<ShapeError>([] { repeat(kF, -1); }, {"repeat of (6,)", "count = -1 is negative"});
    expect_error<ValueError>([&] { repeat(labels, ints({1, -3})); }, {"repeat of (2,)", "count -3 is negative"});
    expect_error<ShapeError>([] { topk(kF, 4); },
                             {"topk of (2, 3)", "k = 4 is not within 0 and the extent of axis -1"});
    expect_error<ShapeError>([] { roll(kF, {1}, {0, 1}); }, {"roll of (2, 3)", "one shift for each axis"});
    expect_error<ShapeError>([] { kF.at({0, 0, 0}); }, {"index", "(2, 3)", "at most one for each axis"});
    expect_error<ShapeError>([] { Tensor::from<float>({1, 2}, {-1}); }, {"Tensor::from", "(-1,)"});
}

TEST(Errors, TooManyElementsAreNamedWhenRecorded) {
    const std::int64_t n = std::int64_t{1} << 40;
    const Tensor v = ones({n});
    expect_error<ShapeError>([&] { zeros({n, n}); }, {"zeros", "63 bits"});
    expect_error<ShapeError>([&] { full({n, n}, 1); }, {"full", "63 bits"});
    expect_error<ShapeError>([&] { random::normal(random::Key(1), {n, n}); }, {"random::normal", "63 bits"});
    expect_error<ShapeError>([&] { random::uniform(random::Key(1), {n, n}); }, {"random::uniform", "63 bits"});
    expect_error<ShapeError>([&] { outer(v, v); }, {"(1099511627776,", "63 bits"});
    expect_error<ShapeError>([&] { matmul(reshape(v, {n, 1}), reshape(v, {1, n})); }, {"contract", "63 bits"});
    expect_error<ShapeError>([&] { one_hot(full({n}, 1), n); }, {"one_hot", "63 bits"});
    expect_error<ShapeError>([&] { reshape(v, {n, n}); }, {"reshape", "63 bits"});
    expect_error<ShapeError>([&] { reshape(v, {n, -1, n}); }, {"reshape", "63 bits"});
    expect_error<ShapeError>([&] { tile(v, {n}); }, {"tile", "63 bits"});
    expect_error<ShapeError>([&] { repeat(v, n, 0); }, {"repeat", "63 bits"});
    const Tensor huge = full({2}, std::int64_t{1} << 62);
    expect_error<ShapeError>([&] { repeat(ones({2}), huge, 0); }, {"repeat of (2,)", "63 bits"});
    expect_error<MemoryError>([&] { repeat(ones({1}), slice(huge, {0}, {1}, {1}), 0); }, {"repeat of (1,)", "memory"});
    expect_error<TypeError>([] { zeros({2}, DType::complex64); }, {"zeros", "complex64"});
    expect_error<TypeError>([] { full({2}, 1, DType::complex64); }, {"full", "complex64"});
    expect_error<ValueError>([] { full({2}, 300, DType::uint8); }, {"full", "300", "uint8"});
    expect_error<ValueError>([] { full_like(kI, std::int64_t{1} << 40); }, {"full_like", "int32"});
}

// Indices fail at evaluation: the message still names the function of the call, and the program that made it.
TEST(Errors, BadIndicesNameTheFunctionThatTookThem) {
    const auto expect = [](const char* op, const Tensor& t) {
        expect_error<ValueError>([&] { t.eval(); }, {std::string(op) + ": index 3", "tenon_ops_test+0x"});
    };
    expect("take", take(kF, ints({3}), 1));
    expect("take_along_axis", take_along_axis(kF, ints({3}, {1, 1})));
    expect("cross_entropy", cross_entropy(kF, ints({0, 3})));
    expect("gather", gather(kF, ints({3})));
}

TEST(Errors, UndefinedOperandsNameTheFunction) {
    const Tensor u;
    const std::pair<const char*, std::function<void()>> calls[] = {
        {"add", [&] { u + kF; }},
        {"exp", [&] { exp(u); }},
        {"positive", [&] { positive(u); }},
        {"clip", [&] { clip(u); }},
        {"isinf", [&] { isinf(u); }},
        {"signbit", [&] { signbit(u); }},
        {"logical_not", [&] { logical_not(u); }},
        {"logical_and", [&] { logical_and(kF, u); }},
        {"select", [&] { where(u, kF, kF); }},
        {"astype", [&] { astype(u, DType::int32); }},
        {"reshape", [&] { reshape(u, {1}); }},
        {"transpose", [&] { permute_dims(u, {0}); }},
        {"matrix_transpose", [&] { matrix_transpose(u); }},
        {"moveaxis", [&] { moveaxis(u, {0}, {1}); }},
        {"broadcast_to", [&] { broadcast_to(u, {1}); }},
        {"broadcast_arrays",
         [&] {
             broadcast_arrays({kF, u});
         }},
        {"slice", [&] { slice(u, {0}, {1}, {1}); }},
        {"index", [&] { u[0]; }},
        {"flip", [&] { flip(u); }},
        {"flip", [&] { flip(u, {0}); }},
        {"pad", [&] { pad(u, {1}, {1}); }},
        {"concat",
         [&] {
             concat({kF, u});
         }},
        {"stack", [&] { stack({u}); }},
        {"split", [&] { split(u, 2); }},
        {"unstack", [&] { unstack(u); }},
        {"tile", [&] { tile(u, {2}); }},
        {"repeat", [&] { repeat(u, 2); }},
        {"roll", [&] { roll(u, 2); }},
        {"squeeze", [&] { squeeze(u, {0}); }},
        {"flatten", [&] { flatten(u); }},
        {"expand_dims", [&] { expand_dims(u); }},
        {"sum", [&] { sum(u); }},
        {"sum", [&] { reduce_sum(u, {0}); }},
        {"cumulative_sum", [&] { cumulative_sum(u); }},
        {"argmax", [&] { argmax(u); }},
        {"sort", [&] { sort(u); }},
        {"argsort", [&] { argsort(u); }},
        {"topk", [&] { topk(u, 1); }},
        {"nonzero", [&] { nonzero(u); }},
        {"unique_values", [&] { unique_values(u); }},
        {"searchsorted", [&] { searchsorted(u, kF); }},
        {"take", [&] { take(kF, u); }},
        {"take_along_axis", [&] { take_along_axis(u, kI); }},
        {"gather", [&] { gather(u, kI); }},
        {"matmul", [&] { matmul(kF, u); }},
        {"tensordot", [&] { tensordot(u, kF); }},
        {"vecdot", [&] { vecdot(u, kF); }},
        {"outer", [&] { outer(u, kF); }},
        {"diagonal", [&] { diagonal(u); }},
        {"trace", [&] { trace(u); }},
        {"einsum", [&] { einsum("i", u); }},
        {"tril", [&] { tril(u); }},
        {"meshgrid", [&] { meshgrid({u}); }},
        {"zeros_like", [&] { zeros_like(u); }},
        {"full_like", [&] { full_like(u, 1); }},
        {"relu", [&] { relu(u); }},
        {"softmax", [&] { softmax(u); }},
        {"layer_norm", [&] { layer_norm(u); }},
        {"one_hot", [&] { one_hot(u, 2); }},
        {"cross_entropy", [&] { cross_entropy(kF, u); }},
        {"dropout", [&] { dropout(u, 0.5, random::Key(1)); }},
    };
    for (const auto& [op, f] : calls) {
        try {
            f();
            ADD_FAILURE() << op << " takes an undefined operand";
        } catch (const ValueError& e) {
            EXPECT_EQ(std::string(e.what()).find(std::string(op) + (std::string(op) == "einsum" ? " " : ":")), 0u)
                << op << " says " << e.what();
        }
    }
}

}  // namespace
}  // namespace tenon
