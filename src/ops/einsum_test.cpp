// einsum against loops over all labels, with exact integers: chosen and random specifications; orders and errors.
#include <map>

#include "ops/testing.h"
#include "tenon/explain.h"

namespace tenon {
namespace {

using namespace testing_ops;

Tensor whole(const Shape& s, std::uint64_t seed) { return astype(draw(s, seed, -4, 5), DType::int64); }

std::vector<std::string> terms_of(const std::string& inputs) {
    std::vector<std::string> terms(1);
    for (char c : inputs) {
        if (c == ',')
            terms.emplace_back();
        else
            terms.back() += c;
    }
    return terms;
}

// Letters alone, an output given. Axes of extent 1 broadcast.
std::vector<std::int64_t> by_loops(const std::string& specification, const std::vector<Tensor>& operands,
                                   Shape& shape) {
    const std::size_t arrow = specification.find("->");
    const auto terms = terms_of(specification.substr(0, arrow));
    const std::string out = specification.substr(arrow + 2);
    std::map<char, std::int64_t> extent;
    std::string labels = out;  // the summed ones behind
    for (std::size_t t = 0; t < terms.size(); ++t)
        for (std::size_t i = 0; i < terms[t].size(); ++i) {
            const char c = terms[t][i];
            if (labels.find(c) == std::string::npos) labels += c;
            const std::int64_t n = operands[t].shape()[static_cast<int>(i)];
            if (!extent.count(c) || extent[c] == 1) extent[c] = n;
        }
    std::int64_t points = 1, results = 1;
    for (char c : labels) points *= extent[c];
    shape = {};
    for (char c : out) {
        results *= extent[c];
        shape.push_back(extent[c]);
    }
    std::vector<std::vector<std::int64_t>> values;
    for (const Tensor& t : operands) values.push_back(t.to<std::int64_t>());
    std::vector<std::int64_t> sums(static_cast<std::size_t>(results));
    for (std::int64_t p = 0; p < points; ++p) {
        std::map<char, std::int64_t> index;
        std::int64_t rest = p;
        for (std::size_t i = labels.size(); i-- > 0;) {
            index[labels[i]] = rest % extent[labels[i]];
            rest /= extent[labels[i]];
        }
        std::int64_t product = 1;
        for (std::size_t t = 0; t < terms.size(); ++t) {
            std::int64_t at = 0;
            for (std::size_t i = 0; i < terms[t].size(); ++i) {
                const std::int64_t n = operands[t].shape()[static_cast<int>(i)];
                at = at * n + (n == 1 ? 0 : index[terms[t][i]]);
            }
            product *= values[t][static_cast<std::size_t>(at)];
        }
        std::int64_t at = 0;
        for (char c : out) at = at * extent[c] + index[c];
        sums[static_cast<std::size_t>(at)] += product;
    }
    return sums;
}

void expect_loops(const std::string& specification, const std::vector<Tensor>& operands) {
    Shape shape;
    const auto expected = by_loops(specification, operands, shape);
    const Tensor actual = einsum(specification, std::span<const Tensor>(operands));
    EXPECT_EQ(actual.shape(), shape) << specification;
    EXPECT_EQ(actual.to<std::int64_t>(), expected) << specification;
}

TEST(Einsum, ChosenSpecifications) {
    const Tensor v = whole({4}, 1), m = whole({4, 3}, 2), n = whole({3, 5}, 3), s = whole({4, 4}, 4),
                 t = whole({2, 4, 3}, 5);
    expect_loops("i->i", {v});
    expect_loops("i->", {v});
    expect_loops("ij->ji", {m});
    expect_loops("ij->j", {m});
    expect_loops("ii->i", {s});
    expect_loops("ii->", {s});
    expect_loops("iji->ij", {whole({3, 2, 3}, 6)});
    expect_loops("iijj->ji", {whole({2, 2, 3, 3}, 6)});
    expect_loops("iii->i", {whole({3, 3, 3}, 6)});
    expect_loops("i,i->", {v, v});
    expect_loops("i,j->ji", {v, v});
    expect_loops("ij,jk->ik", {m, n});
    expect_loops("ij,jk->ki", {m, n});
    expect_loops("ij,kl->", {m, n});
    expect_loops("ij,ij->ij", {m, m});
    expect_loops("ii,ij->j", {s, m});
    expect_loops("bij,bij->b", {t, t});
    expect_loops("bij,ji->bj", {t, whole({3, 4}, 7)});
    expect_loops("ij,jk,kl->il", {m, n, whole({5, 2}, 8)});
    expect_loops("ij,ik,il->jkl", {m, m, m});
    expect_loops("a,b,c,d,a->bd", {v, v, v, v, v});
    expect_loops(",ij->ij", {Tensor(3), m});
    expect_loops(",->", {Tensor(3), Tensor(4)});
    expect_loops("Zz,zA->AZ", {m, n});
}

TEST(Einsum, ExtentOneBroadcasts) {
    expect_loops("ij,ij->ij", {whole({1, 3}, 1), whole({2, 3}, 2)});
    expect_loops("ij,ij->", {whole({1, 3}, 1), whole({2, 1}, 2)});
    expect_loops("ii->i", {whole({1, 3}, 1)});
    expect_loops("iji->ij", {whole({3, 2, 1}, 1)});
    expect_loops("ij,i->j", {whole({1, 2}, 1), whole({1}, 2)});
}

TEST(Einsum, RandomSpecifications) {
    std::mt19937_64 engine(11);
    const auto below = [&](std::uint64_t n) { return engine() % n; };
    for (int round = 0; round < 400; ++round) {
        std::map<char, std::int64_t> extent;
        for (char c = 'a'; c < 'g'; ++c) extent[c] = 1 + static_cast<std::int64_t>(below(3));
        std::string inputs, present;
        std::vector<Tensor> operands;
        const std::uint64_t n = 1 + below(8);  // beyond the optimal search too
        for (std::uint64_t i = 0; i < n; ++i) {
            if (i) inputs += ',';
            Shape s;
            for (std::uint64_t r = below(4); r > 0; --r) {
                const char c = static_cast<char>('a' + below(6));
                inputs += c;
                if (present.find(c) == std::string::npos) present += c;
                s.push_back(below(5) == 0 ? 1 : extent[c]);
            }
            operands.push_back(whole(s, engine()));
        }
        std::string out;
        std::shuffle(present.begin(), present.end(), engine);
        for (char c : present)
            if (below(2)) out += c;
        expect_loops(inputs + "->" + out, operands);
    }
}

TEST(Einsum, ImplicitOutputIsAlphabetical) {
    const Tensor m = whole({4, 3}, 1), n = whole({3, 5}, 2);
    EXPECT_EQ(einsum("ba", m).to<std::int64_t>(), matrix_transpose(m).to<std::int64_t>());
    EXPECT_EQ(einsum("ij,jk", m, n).to<std::int64_t>(), matmul(m, n).to<std::int64_t>());
    EXPECT_EQ(einsum("ij,jh", m, n).shape(), (Shape{5, 4}));
    EXPECT_EQ(einsum(" i j , j k -> i k ", m, n).shape(), (Shape{4, 5}));
    EXPECT_EQ(einsum("ii", eye(3)).item<float>(), 3);
    EXPECT_EQ(einsum("aB,aC", zeros({2, 3}), zeros({2, 4})).shape(), (Shape{3, 4}));
}

TEST(Einsum, EllipsisStandsForLeadingAxes) {
    const Tensor a = whole({2, 1, 4, 3}, 1), b = whole({6, 3, 5}, 2);
    const auto expected = matmul(a, b).to<std::int64_t>();
    EXPECT_EQ(einsum("...ij,...jk->...ik", a, b).to<std::int64_t>(), expected);
    EXPECT_EQ(einsum("...ij,...jk", a, b).to<std::int64_t>(), expected);
    EXPECT_EQ(einsum("...ij,...jk->ik...", a, b).shape(), (Shape{4, 5, 2, 6}));
    EXPECT_EQ(einsum("i...,i->...", a, ints({1, 2})).to<std::int64_t>(),
              tensordot(ints({1, 2}), a, 1).to<std::int64_t>());
    EXPECT_EQ(einsum("...->...", a).shape(), a.shape());
    EXPECT_EQ(einsum("...,...", a, Tensor(2)).to<std::int64_t>(), (a * 2).to<std::int64_t>());
    EXPECT_EQ(einsum("...ii->...i", whole({2, 3, 3}, 1)).to<std::int64_t>(),
              diagonal(whole({2, 3, 3}, 1)).to<std::int64_t>());
}

TEST(Einsum, TheCheapestOrderIsTaken) {
    // A vector at the end of a chain of matrices: from the right, 3 products of 2 * 100 * 100.
    const std::vector<Tensor> chain = {zeros({100, 100}), zeros({100, 100}), zeros({100, 100}), zeros({100})};
    EXPECT_EQ(einsum_path("ij,jk,kl,l->i", chain), "kl,l->k 20000\njk,k->j 20000\nij,j->i 20000\n");
    // The greedy order takes the outer product of the vectors first, and pays for it; seven operands are too many to
    // compare.
    const std::vector<Tensor> pair = {zeros({10}), zeros({10}), zeros({10, 10})};
    EXPECT_EQ(einsum_path("i,j,ij->", pair), "j,ij->i 200\ni,i-> 20\n");
    // Beyond six operands the cheapest pair goes first.
    std::vector<Tensor> long_chain(7, zeros({3, 3}));
    long_chain.push_back(zeros({3}));
    EXPECT_EQ(einsum_path("ab,bc,cd,de,ef,fg,gh,h->a", long_chain),
              "gh,h->g 18\nfg,g->f 18\nef,f->e 18\nde,e->d 18\ncd,d->c 18\nbc,c->b 18\nab,b->a 18\n");
}

TEST(Einsum, ErrorsSayWhatDoesNotFit) {
    const Tensor m = zeros({2, 3}), v = zeros({4});
    const auto spec = [](const char* s, std::vector<Tensor> in) {
        return [s, in] { einsum(s, std::span<const Tensor>(in)); };
    };
    expect_error<ShapeError>(spec("ij,j->i", {m, v}), {"einsum \"ij,j->i\"", "(2, 3)", "(4,)", "3", "4"});
    expect_error<ShapeError>(spec("ijk->i", {m}), {"einsum", "ijk", "(2, 3)"});
    expect_error<ShapeError>(spec("i->i", {m}), {"einsum", "(2, 3)"});
    expect_error<ShapeError>(spec("...ijk->i", {m}), {"einsum", "(2, 3)"});
    expect_error<ShapeError>(spec("ii->", {m}), {"einsum", "(2, 3)"});
    expect_error<ValueError>(spec("ij->ik", {m}), {"einsum", "output"});
    expect_error<ValueError>(spec("ij->ii", {m}), {"einsum", "twice"});
    expect_error<ValueError>(spec("ij,jk->ik", {m}), {"einsum", "2 terms", "1 operand"});
    expect_error<ValueError>(spec("i1->i", {m}), {"einsum", "i1"});
    expect_error<ValueError>(spec("i.j->i", {m}), {"einsum"});
    expect_error<ValueError>(spec("......->", {m}), {"einsum"});
    expect_error<ValueError>(spec("...i->i", {m}), {"einsum", "..."});
    expect_error<ValueError>(spec("ij->i->j", {m}), {"einsum"});
    expect_error<ValueError>(spec("", {}), {"einsum", "no operands"});
    // Fourteen axes are more than a tensor has.
    const std::vector<Tensor> wide(2, zeros(Shape(7, 2)));
    expect_error<ShapeError>(spec("abcdefg,hijklmn", wide), {"einsum", "14"});
}

TEST(Einsum, Derivatives) {
    const auto f = [](const char* s) {
        return [s](const std::vector<Tensor>& in) { return einsum(s, std::span<const Tensor>(in)); };
    };
    expect_derivatives(f("ij,jk,kl->il"), {draw({2, 3}, 1), draw({3, 2}, 2), draw({2, 3}, 3)}, "chain");
    expect_derivatives(f("iij,kj->k"), {draw({2, 2, 3}, 1), draw({2, 3}, 2)}, "diagonal");
    expect_derivatives(f("...ij,...j->...i"), {draw({2, 1, 2, 3}, 1), draw({2, 3}, 2)}, "ellipsis");
    expect_derivatives(f("ij,k->i"), {draw({2, 3}, 1), draw({2}, 2)}, "labels of one operand");
}

TEST(Einsum, NarrowDtypesArePromoted) {
    EXPECT_EQ(einsum("i,i", ones({3}, DType::float16), ones({3})).dtype(), DType::float32);
    EXPECT_EQ(einsum("ij->j", ones({4096, 1}, DType::bfloat16)).item<float>(), 4096);
}

TEST(Einsum, OperandsAreReadWhereTheyAre) {
    const Tensor x = draw({6, 5, 6}, 1).eval(), y = draw({6, 4}, 2).eval(), z = draw({5, 1}, 3).eval();
    const auto one_task = [](const Tensor& t) {
        const std::string told = explain(t);
        EXPECT_NE(told.find("1 tasks"), std::string::npos) << told;
    };
    one_task(einsum("iji,ik->jk", x, y));
    one_task(einsum("iji,ik->jk", flip(x), flip(y)));
    one_task(einsum("jii,ik->jk", permute_dims(x, {1, 2, 0}), y));
    one_task(einsum("ji,ik->jk", broadcast_to(z, {5, 6}), y));
}

}  // namespace
}  // namespace tenon
