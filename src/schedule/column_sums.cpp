#include "schedule/column_sums.h"

#include <algorithm>
#include <map>
#include <optional>

#include "cuda/row_sums.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kMinElements = std::int64_t{1} << 20, kMinRows = 1024;
constexpr std::int64_t kMaxApart = 32'000'000;
constexpr std::size_t kMaxInputs = 16, kMaxCode = 64;

bool contains(const std::vector<Index>& list, Index i) { return std::find(list.begin(), list.end(), i) != list.end(); }

/// The tape for some elements of a group, from what the group reads and its row values.
class Expression {
  public:
    Expression(const Program& p, const Group& g) : p_(p), g_(g) {}

    /// Returns false if strides cannot express an operand.
    bool collect(Index m) {
        if (seen_[m]) return true;
        seen_[m] = true;
        return std::ranges::all_of(p_.bases[m].operands, [&](const Source& s) {
            if (!contains(g_.members, s.base)) return input(s).has_value();
            if (!is_per_row(p_, g_.domain, s.base)) return collect(s.base);
            of_row(s.base);
            if (!contains(rows, s.base)) rows.push_back(s.base);
            return true;
        });
    }

    /// The register of an operand from outside the group.
    std::optional<std::uint8_t> input(const Source& s) {
        const std::optional<Layout> layout = in_domain(g_.domain, s.layout, false);
        if (!layout) return std::nullopt;
        return at(Source{s.base, *layout});
    }

    /// Called once everything is collected.
    std::uint8_t emit(Index m) {
        if (const auto found = registers_.find(m); found != registers_.end()) return found->second;
        std::uint8_t operands[3]{};
        std::size_t n = 0;
        for (const Source& s : p_.bases[m].operands)
            operands[n++] = !contains(g_.members, s.base)       ? *input(s)
                            : is_per_row(p_, g_.domain, s.base) ? of_row(s.base)
                                                                : emit(s.base);
        if (p_.bases[m].kind == Kind::copy) return registers_[m] = operands[0];
        tape.code.push_back(instruction_of(p_, m, operands, n));
        return registers_[m] = static_cast<std::uint8_t>(in.size() + tape.code.size() - 1);
    }

    std::vector<Source> in;
    std::vector<Index> rows;  // values of rows that it reads
    tape::Tape tape;

  private:
    std::uint8_t of_row(Index m) {
        Layout l = Layout::contiguous(g_.domain.shape);
        const int last = l.rank() - 1;
        for (int d = 0; d < last; ++d) l.strides[d] /= std::max<std::int64_t>(1, l.shape[last]);
        l.strides[last] = 0;
        return at(Source{m, l});
    }
    std::uint8_t at(const Source& s) {
        auto found = std::find(in.begin(), in.end(), s);
        if (found == in.end()) {
            in.push_back(s);
            tape.inputs.push_back(p_.dtype(s.base));
            found = in.end() - 1;
        }
        return static_cast<std::uint8_t>(found - in.begin());
    }

    const Program& p_;
    const Group& g_;
    std::map<Index, bool> seen_;
    std::map<Index, std::uint8_t> registers_;
};

class Joiner {
  public:
    Joiner(const Program& p, const Groups& g, const std::vector<std::uint32_t>& order,
           const std::vector<bool>& is_result, std::vector<Draft>& drafts)
        : p_(p),
          g_(g),
          order_(order),
          is_result_(is_result),
          drafts_(drafts),
          readers_(readers_of(p)),
          position_(g.groups.size()),
          removed_(drafts.size()) {
        for (std::size_t i = 0; i < order.size(); ++i) position_[order[i]] = i;
    }

    void run() {
        for (std::size_t at = 0; at < order_.size(); ++at) consider(at);
        std::size_t i = 0;
        std::erase_if(drafts_, [&](const Draft&) { return removed_[i++]; });
    }

  private:
    /// Whether a base sums over all axes of its operand except the last, and runs alone.
    bool is_column_sum(Index m, std::int64_t columns) const {
        const Base& b = p_.bases[m];
        if (b.kind != Kind::reduction || p_.node(m).primitive->reduction != tape::Reduction::sum) return false;
        const Group& own = g_.groups[g_.of[m]];
        const Source& s = b.operands[0];
        const Attributes& axes = p_.node(m).attributes;
        const int rank = s.layout.shape.rank();
        return own.members.size() == 1 && !own.ready && !removed_[position_[g_.of[m]]] && is_whole(p_, s) && rank > 1 &&
               s.layout.shape.back() == columns && static_cast<int>(axes.size()) == rank - 1 &&
               std::find(axes.begin(), axes.end(), rank - 1) == axes.end();
    }

    void consider(std::size_t at) {
        const Group& g = g_.groups[order_[at]];
        const Shape& shape = g.domain.shape;
        if (g.ready || g.has_product || shape.rank() < 2 || removed_[at]) return;
        if (drafts_[at].task.kind != Task::Kind::rows && drafts_[at].task.kind != Task::Kind::tape) return;
        const std::int64_t columns = shape.back(), n = count(shape);
        if (columns == 0 || n < kMinElements || n / columns < kMinRows) return;
        const auto bytes_of = [&](const Source& s) {
            return std::min(count(p_.bases[s.base].shape), s.layout.count()) *
                   static_cast<std::int64_t>(size_of(p_.dtype(s.base)));
        };
        Expression expression(p_, g);
        // elements that are not stored, the sums, and the element that each sum is of
        std::vector<Index> gone, sums, of;
        std::int64_t before = 0, after = 0;
        for (const Index m : g.members) {
            if (!is_result_[m] || p_.bases[m].escapes || is_per_row(p_, g.domain, m)) continue;
            std::vector<Index> outside;
            for (const Index r : readers_[m])
                if (!contains(g.members, r)) outside.push_back(r);
            if (!std::ranges::all_of(outside, [&](Index r) { return is_column_sum(r, columns); })) continue;
            if (!expression.collect(m)) return;
            gone.push_back(m);
            before +=
                (1 + static_cast<std::int64_t>(outside.size())) * n * static_cast<std::int64_t>(size_of(p_.dtype(m)));
            for (const Index r : outside) sums.push_back(r), of.push_back(m);
        }
        if (gone.empty()) return;
        const std::size_t of_elements = sums.size();
        for (std::size_t i = 0; i < expression.in.size(); ++i) {
            const Source& s = expression.in[i];
            if (contains(expression.rows, s.base) || !is_whole(p_, s)) continue;
            for (const Index r : readers_[s.base])
                if (is_column_sum(r, columns) && position_[g_.of[r]] > at && !contains(sums, r)) {
                    before += bytes_of(s);
                    sums.push_back(r), of.push_back(static_cast<Index>(i));
                }
        }
        for (const Source& s : expression.in) after += bytes_of(s);
        if (after >= before || expression.in.size() > kMaxInputs) return;
        for (std::size_t i = 0; i < sums.size(); ++i)
            expression.tape.outputs.push_back(i < of_elements ? expression.emit(of[i])
                                                              : static_cast<std::uint8_t>(of[i]));
        if (expression.tape.code.size() > kMaxCode) return;
        std::vector<bool> is_result = is_result_;
        for (const Index m : gone) is_result[m] = false;
        for (const Index m : expression.rows) is_result[m] = true;
        const bool stores = std::ranges::any_of(g.members, [&](Index m) { return is_result[m]; });
        if (stores)
            drafts_[at] = draft(p_, g, is_result);
        else
            removed_[at] = true;
        // In two passes the sums are a separate task, for which the readers of the rows need not wait. Sums that read
        // much run immediately, while the cache still holds some of it.
        const bool apart = !cuda::may_take_one_pass(n / columns, columns) && after <= kMaxApart;
        if (stores && drafts_[at].task.kind == Task::Kind::rows && !apart)
            add_to_rows(drafts_[at], std::move(expression), sums, n);
        else
            store(std::move(expression), sums, n, after);
    }

    /// Adds the sums to the work on rows, which reads or computes their operands.
    void add_to_rows(Draft& d, Expression e, const std::vector<Index>& sums, std::int64_t n) {
        d.task.kind = Task::Kind::column_sums;
        d.task.product_operands = d.in.size();
        for (const Source& s : e.in)
            if (!contains(e.rows, s.base) && std::find(d.in.begin(), d.in.end(), s) == d.in.end()) d.in.push_back(s);
        for (const Source& s : e.in) {
            const bool of_rows = contains(e.rows, s.base);
            const std::size_t at =
                of_rows ? d.in.size() +
                              static_cast<std::size_t>(std::find(d.out.begin(), d.out.end(), s.base) - d.out.begin())
                        : static_cast<std::size_t>(std::find(d.in.begin(), d.in.end(), s) - d.in.begin());
            d.task.sum_operands.push_back(static_cast<std::uint32_t>(at));
        }
        d.task.nodes.insert(d.task.nodes.end(), sums.begin(), sums.end());
        std::sort(d.task.nodes.begin(), d.task.nodes.end());
        d.task.cost.flops += static_cast<double>(n) * static_cast<double>(e.tape.code.size() + sums.size());
        d.task.tape = std::move(e.tape);
        for (const Index s : sums) {
            d.out.push_back(s);
            d.out_layouts.push_back(Layout::contiguous(p_.bases[s].shape));
            removed_[position_[g_.of[s]]] = true;
        }
    }

    /// Puts the joined task in the place of the first of the sums.
    void store(Expression e, const std::vector<Index>& sums, std::int64_t n, std::int64_t bytes) {
        Draft d;
        d.task.kind = Task::Kind::column_sums;
        d.task.node = sums[0];
        d.task.nodes = sums;
        std::sort(d.task.nodes.begin(), d.task.nodes.end());
        d.task.cost = {static_cast<double>(n) * static_cast<double>(e.tape.code.size() + sums.size()),
                       static_cast<double>(bytes)};
        d.task.tape = std::move(e.tape);
        d.in = std::move(e.in);
        d.out = sums;
        std::size_t first = drafts_.size();
        for (const Index s : sums) {
            d.out_layouts.push_back(Layout::contiguous(p_.bases[s].shape));
            const std::size_t own = position_[g_.of[s]];
            removed_[own] = true;
            first = std::min(first, own);
        }
        removed_[first] = false;
        drafts_[first] = std::move(d);
    }

    const Program& p_;
    const Groups& g_;
    const std::vector<std::uint32_t>& order_;
    const std::vector<bool>& is_result_;
    std::vector<Draft>& drafts_;
    Lists readers_;
    std::vector<std::size_t> position_;  // of each group
    std::vector<bool> removed_;
};

}  // namespace

void join_column_sums(const Program& p, const Groups& g, const std::vector<std::uint32_t>& order,
                      const std::vector<bool>& is_result, std::vector<Draft>& drafts) {
    Joiner(p, g, order, is_result, drafts).run();
}

}  // namespace tenon::schedule
