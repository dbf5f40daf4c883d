// einsum of many operands: parsing, and the order of the pairwise products.
#include <algorithm>
#include <bit>
#include <cctype>
#include <limits>

#include "ops/ops.h"
#include "ops/terms.h"

namespace tenon {
namespace {

// Labels: 0 to 51 are A to Z and a to z, as they sort; 52 and above the ellipsis' axes, counted from the last.
constexpr int kLetters = 52;
constexpr int kLabels = kLetters + kMaxRank;
// The most operands for which all orders are compared: 3^n / 2 pairs of subsets.
constexpr std::size_t kOptimal = 6;

// One bit a label.
using LabelSet = std::uint64_t;
static_assert(kLabels <= 64);

LabelSet set_of(const Labels& labels) {
    LabelSet s = 0;
    for (std::uint8_t l : labels) s |= LabelSet{1} << l;
    return s;
}

bool has(LabelSet s, std::uint8_t l) { return s >> l & 1; }

// Error messages, which show the specification and the shapes.
class Context {
  public:
    Context(std::string_view specification, std::span<const Tensor> operands)
        : specification_(specification), operands_(operands) {}

    template <class E, class... T>
    [[noreturn]] void fail(const T&... rule) const {
        std::string shapes;
        for (const Tensor& t : operands_) shapes += (shapes.empty() ? "" : ", ") + described(t);
        throw E(text("einsum \"", specification_, "\" of ", shapes, ": ", rule...));
    }

  private:
    std::string_view specification_;
    std::span<const Tensor> operands_;
};

std::uint8_t label_of(char c) { return static_cast<std::uint8_t>(c <= 'Z' ? c - 'A' : c - 'a' + 26); }

// One operand's labels, or the output's; `ellipsis` is how many axes "..." stands for.
Labels parsed(std::string_view term, int ellipsis, const Context& context) {
    Labels labels;
    bool seen = false;
    for (std::size_t i = 0; i < term.size(); ++i) {
        if (std::isalpha(static_cast<unsigned char>(term[i]))) {
            labels.push_back(label_of(term[i]));
        } else if (term.substr(i, 3) == "..." && !seen) {
            for (int k = ellipsis - 1; k >= 0; --k) labels.push_back(static_cast<std::uint8_t>(kLetters + k));
            seen = true;
            i += 2;
        } else {
            context.fail<ValueError>("\"", term, "\" is not a list of letters with at most one \"...\"");
        }
    }
    if (ellipsis < 0) context.fail<ShapeError>("\"", term, "\" has more labels than the operand has axes");
    return labels;
}

struct Problem {
    std::vector<Term> terms;
    Labels out;
    std::int64_t extent[kLabels];  // of each label
};

std::vector<std::string_view> pieces(std::string_view s, char at) {
    std::vector<std::string_view> result;
    while (true) {
        const std::size_t end = s.find(at);
        result.push_back(s.substr(0, end));
        if (end == std::string_view::npos) return result;
        s.remove_prefix(end + 1);
    }
}

int count_of(const std::vector<Term>& terms, int label) {
    int n = 0;
    for (const Term& t : terms) n += static_cast<int>(std::count(t.labels.begin(), t.labels.end(), label));
    return n;
}

// The output without "->": the ellipsis, then the labels that occur once, in alphabetical order.
Labels implicit_output(const std::vector<Term>& terms, int ellipsis) {
    Labels out;
    for (int k = ellipsis - 1; k >= 0; --k) out.push_back(static_cast<std::uint8_t>(kLetters + k));
    for (int l = 0; l < kLetters; ++l)
        if (count_of(terms, l) == 1) out.push_back(static_cast<std::uint8_t>(l));
    return out;
}

void read_extents(Problem& p, const Context& context) {
    std::fill(std::begin(p.extent), std::end(p.extent), 1);
    for (const Term& t : p.terms) {
        for (std::size_t i = 0; i < t.labels.size(); ++i) {
            const std::int64_t n = t.tensor.shape()[static_cast<int>(i)];
            std::int64_t& extent = p.extent[t.labels[i]];
            if (n != 1 && extent != 1 && n != extent)
                context.fail<ShapeError>("extents ", extent, " and ", n, " of one label");
            if (n != 1) extent = n;
        }
    }
}

Problem parse(std::string_view specification, std::span<const Tensor> operands, const Context& context) {
    if (operands.empty()) context.fail<ValueError>("no operands");
    std::string s;
    for (char c : specification)
        if (c != ' ') s += c;
    const std::size_t arrow = s.find("->");
    const auto inputs = pieces(std::string_view(s).substr(0, arrow), ',');
    if (inputs.size() != operands.size())
        context.fail<ValueError>(inputs.size(), " terms for ", operands.size(), " operands");
    Problem p;
    DType dtype = operands[0].dtype();
    int ellipsis = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Tensor& t = operands[i];
        check_same_device("einsum", operands[0], t);
        try {
            if (t.dtype() != dtype) dtype = promote(dtype, t.dtype());
        } catch (const TypeError& e) {
            context.fail<TypeError>(e.what());
        }
        const bool dots = inputs[i].find("...") != std::string_view::npos;
        const int axes = dots ? t.rank() - static_cast<int>(inputs[i].size() - 3) : 0;
        const Labels labels = parsed(inputs[i], axes, context);
        if (labels.size() != static_cast<std::size_t>(t.rank()))
            context.fail<ShapeError>("\"", inputs[i], "\" does not have one label for each axis of ",
                                     to_string(t.shape()));
        ellipsis = std::max(ellipsis, axes);
        p.terms.push_back({t, labels});
    }
    for (Term& t : p.terms) t.tensor = astype(t.tensor, dtype);
    p.out = arrow == std::string::npos ? implicit_output(p.terms, ellipsis)
                                       : parsed(std::string_view(s).substr(arrow + 2), ellipsis, context);
    const LabelSet out = set_of(p.out);
    if (static_cast<std::size_t>(std::popcount(out)) != p.out.size())
        context.fail<ValueError>("a label stands twice in the output");
    if (p.out.size() > kMaxRank) context.fail<ShapeError>("an output of ", p.out.size(), " axes");
    for (std::uint8_t l : p.out)
        if (l < kLetters && count_of(p.terms, l) == 0) context.fail<ValueError>("an output label stands in no operand");
    for (int k = 0; k < ellipsis; ++k)
        if (!has(out, static_cast<std::uint8_t>(kLetters + k)))
            context.fail<ValueError>("the output lacks the operands' \"...\"");
    read_extents(p, context);
    return p;
}

// Repeated labels become one axis, the diagonal's. If their extents differ one of them is 1, and that axis is dropped.
Term without_repeats(Term t) {
    for (std::size_t i = 0; i < t.labels.size(); ++i) {
        for (std::size_t j = t.labels.size() - 1; j > i; --j) {
            if (t.labels[i] != t.labels[j]) continue;
            const int a = static_cast<int>(i), b = static_cast<int>(j), last = t.tensor.rank() - 1;
            const std::int64_t m = t.tensor.shape()[a], n = t.tensor.shape()[b];
            if (m == n) {
                // Axis a goes to the end beside axis b, and the diagonal, the last axis, back to where a was.
                const Tensor matrix = with_axis_moved(with_axis_moved(t.tensor, b, last), a, last - 1);
                t.tensor = with_axis_moved(diagonal(matrix), last - 1, a);
            } else {
                if (m == 1) t.tensor = with_axis_moved(t.tensor, b, a);
                t.tensor = squeeze(t.tensor, {m == 1 ? a + 1 : b});
            }
            t.labels.erase(t.labels.begin() + static_cast<std::ptrdiff_t>(j));
        }
    }
    return t;
}

// Before any product: drops axes of extent 1 that broadcast, and sums over labels that no other operand has.
void prepare(Problem& p) {
    for (Term& t : p.terms) t = without_repeats(t);
    const LabelSet out = set_of(p.out);
    for (std::size_t i = 0; i < p.terms.size(); ++i) {
        Term& t = p.terms[i];
        LabelSet others = out;
        for (std::size_t k = 0; k < p.terms.size(); ++k)
            if (k != i) others |= set_of(p.terms[k].labels);
        Labels kept;
        for (std::size_t k = 0; k < t.labels.size(); ++k) {
            const bool broadcast = t.tensor.shape()[static_cast<int>(k)] == 1 && p.extent[t.labels[k]] != 1;
            if (has(others, t.labels[k]) && !broadcast) kept.push_back(t.labels[k]);
        }
        t = {arranged(t, kept), kept};
    }
}

// A product's cost: FLOPs first, then elements of the result.
struct Price {
    double flops = 0, elements = 0;
    bool operator<(const Price& o) const { return flops < o.flops || (flops == o.flops && elements < o.elements); }
    Price operator+(const Price& o) const { return {flops + o.flops, elements + o.elements}; }
};

constexpr double kImpossible = std::numeric_limits<double>::infinity();

double product_of(LabelSet labels, const std::int64_t* extent) {
    double n = 1;
    for (; labels; labels &= labels - 1) n *= static_cast<double>(extent[std::countr_zero(labels)]);
    return n;
}

// The price of the product of two terms whose result keeps `kept`. A result must not have more axes than a tensor can.
Price price(LabelSet a, LabelSet b, LabelSet kept, const std::int64_t* extent) {
    const LabelSet result = (a | b) & kept;
    if (std::popcount(result) > kMaxRank) return {kImpossible, kImpossible};
    return {2 * product_of(a | b, extent), product_of(result, extent)};
}

// Steps (i, j): terms i < j are replaced by their product, which goes to the end.
using Path = std::vector<std::pair<std::size_t, std::size_t>>;

// The best of all orders, by dynamic programming over subsets of the operands (Pfeifer, Haegeman, Verstraete, 2014).
class Optimal {
  public:
    Optimal(const std::vector<LabelSet>& terms, LabelSet out, const std::int64_t* extent) : terms_(terms) {
        const std::size_t n = terms.size(), all = (std::size_t{1} << n) - 1;
        best_.resize(all + 1);
        left_.resize(all + 1);
        std::vector<LabelSet> inside(all + 1, 0);
        for (std::size_t s = 1; s <= all; ++s)
            for (std::size_t i = 0; i < n; ++i)
                if (s >> i & 1) inside[s] |= terms[i];
        for (std::size_t s = 1; s <= all; ++s) {
            if (std::has_single_bit(s)) continue;
            best_[s] = {kImpossible, kImpossible};
            const LabelSet kept = out | inside[all & ~s];
            for (std::size_t a = (s - 1) & s; a; a = (a - 1) & s) {
                const std::size_t b = s & ~a;
                if (a < b) continue;  // each split once
                // A partial result keeps the labels that the other operands or the output have.
                const Price p =
                    best_[a] + best_[b] +
                    price(inside[a] & (out | inside[all & ~a]), inside[b] & (out | inside[all & ~b]), kept, extent);
                if (p < best_[s] || left_[s] == 0) {
                    best_[s] = p;
                    left_[s] = a;
                }
            }
        }
    }

    Path path() const {
        std::vector<std::size_t> present;
        for (std::size_t i = 0; i < terms_.size(); ++i) present.push_back(std::size_t{1} << i);
        Path steps;
        append((std::size_t{1} << terms_.size()) - 1, present, steps);
        return steps;
    }

  private:
    // Operands of a subset first, then their product; `present` are the terms as subsets, in their places.
    void append(std::size_t subset, std::vector<std::size_t>& present, Path& steps) const {
        if (std::has_single_bit(subset)) return;
        const std::size_t a = left_[subset], b = subset & ~a;
        append(b, present, steps);
        append(a, present, steps);
        auto i = std::find(present.begin(), present.end(), a), j = std::find(present.begin(), present.end(), b);
        if (j < i) std::swap(i, j);
        steps.emplace_back(i - present.begin(), j - present.begin());
        present.erase(j);
        present.erase(i);
        present.push_back(subset);
    }

    const std::vector<LabelSet>& terms_;
    std::vector<Price> best_;
    std::vector<std::size_t> left_;
};

// The cheapest pair first.
Path greedy(std::vector<LabelSet> terms, LabelSet out, const std::int64_t* extent) {
    Path steps;
    while (terms.size() > 1) {
        Price best;
        std::pair<std::size_t, std::size_t> pair{0, 0};
        LabelSet result = 0;
        for (std::size_t i = 0; i < terms.size(); ++i) {
            for (std::size_t j = i + 1; j < terms.size(); ++j) {
                LabelSet kept = out;
                for (std::size_t k = 0; k < terms.size(); ++k)
                    if (k != i && k != j) kept |= terms[k];
                const Price p = price(terms[i], terms[j], kept, extent);
                if (pair.second != 0 && !(p < best)) continue;
                best = p;
                pair = {i, j};
                result = (terms[i] | terms[j]) & kept;
            }
        }
        steps.push_back(pair);
        terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(pair.second));
        terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(pair.first));
        terms.push_back(result);
    }
    return steps;
}

Path best_path(const Problem& p) {
    std::vector<LabelSet> terms;
    for (const Term& t : p.terms) terms.push_back(set_of(t.labels));
    return terms.size() <= kOptimal ? Optimal(terms, set_of(p.out), p.extent).path()
                                    : greedy(terms, set_of(p.out), p.extent);
}

// Removes terms i < j and returns the labels of their product: in the operands' order, or at the end in the output's.
Labels joined(std::vector<Term>& terms, const Labels& out, std::size_t i, std::size_t j, Term& a, Term& b) {
    a = terms[i];
    b = terms[j];
    terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(j));
    terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(i));
    if (terms.empty()) return out;
    LabelSet kept = set_of(out);
    for (const Term& t : terms) kept |= set_of(t.labels);
    Labels labels;
    for (const Labels& from : {a.labels, b.labels})
        for (std::uint8_t l : from)
            if (has(kept, l) && std::find(labels.begin(), labels.end(), l) == labels.end()) labels.push_back(l);
    return labels;
}

std::string letters(const Labels& labels) {
    std::string s;
    for (std::uint8_t l : labels) {
        if (l >= kLetters)
            s += text('.', l - kLetters);
        else
            s += static_cast<char>(l < 26 ? 'A' + l : 'a' + l - 26);
    }
    return s;
}

Problem prepared(std::string_view specification, std::span<const Tensor> operands) {
    for (const Tensor& t : operands)
        if (!t.defined()) throw ValueError(text("einsum \"", specification, "\": an operand is not defined"));
    Problem p = parse(specification, operands, Context(specification, operands));
    prepare(p);
    return p;
}

}  // namespace

Tensor einsum(std::string_view specification, std::span<const Tensor> operands) {
    Problem p = prepared(specification, operands);
    if (p.terms.size() == 1) return arranged(p.terms[0], p.out);
    for (const auto& [i, j] : best_path(p)) {
        Term a, b;
        Labels labels = joined(p.terms, p.out, i, j, a, b);
        if (labels.size() > kMaxRank)
            Context(specification, operands).fail<ShapeError>("an intermediate result of ", labels.size(), " axes");
        p.terms.push_back({contracted(a, b, labels), labels});
    }
    return p.terms[0].tensor;
}

std::string einsum_path(std::string_view specification, std::span<const Tensor> operands) {
    Problem p = prepared(specification, operands);
    std::string lines;
    for (const auto& [i, j] : best_path(p)) {
        Term a, b;
        Labels labels = joined(p.terms, p.out, i, j, a, b);
        const double flops = 2 * product_of(set_of(a.labels) | set_of(b.labels), p.extent);
        lines += text(letters(a.labels), ",", letters(b.labels), "->", letters(labels), " ", flops, "\n");
        p.terms.push_back({Tensor(), std::move(labels)});
    }
    return lines;
}

}  // namespace tenon
