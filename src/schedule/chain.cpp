#include "schedule/chain.h"

#include <algorithm>
#include <optional>

#include "primitive/contract.h"
#include "schedule/device_chain.h"
#include "schedule/digits.h"
#include "schedule/hidden.h"

namespace tenon::schedule {
namespace {

constexpr std::size_t kMostRegisters = 255;

/// The groups from the first product to the second, and which input of each (for the second: which operand) is the
/// previous one.
struct Path {
    struct Stage {
        std::uint32_t group;
        std::size_t input;
        const Draft& draft;
        bool kept = false;  // others read its result
    };
    std::vector<Stage> stages;  // the second product's first
};

/// A second result of the task, which others also read, with its axes as digits of the intermediate.
struct Keep {
    Index base;
    Side side;
};
struct Kept {
    std::optional<Keep> product, intermediate;
};

/// The pointwise work of the path, as one tape on the intermediate.
struct Between {
    tape::Tape tape;
    std::vector<Side> sides;
    struct Piece {
        const Draft* draft;
        std::size_t input;  // of the tape, the one before
        std::size_t first_side;
    };
    std::vector<Piece> pieces;

    void add(const Draft& d, std::size_t skip, std::size_t input, const std::vector<Digits>& axes) {
        pieces.push_back({&d, input, sides.size()});
        for (std::size_t i = skip; i < d.in.size(); ++i)
            if (skip > 0 || i != input) sides.emplace_back(d.in[i], axes);
    }

    /// Inputs are numbered before code.
    bool build(const Program& p, DType product) {
        tape.inputs.push_back(product);
        for (const Side& s : sides) tape.inputs.push_back(p.dtype(s.base()));
        std::size_t last = 0;
        for (const Piece& piece : pieces) {
            const tape::Tape& own = piece.draft->task.tape;
            const std::size_t inputs = own.inputs.size(), first_code = tape.inputs.size() + tape.code.size();
            const auto now = [&](std::size_t r) {
                if (r >= inputs) return first_code + r - inputs;
                if (r == piece.input) return last;
                return 1 + piece.first_side + r - (r > piece.input ? 1 : 0);
            };
            if (first_code + own.code.size() > kMostRegisters) return false;
            for (tape::Instruction code : own.code) {
                for (int i = 0; i < tape::arity(code.op); ++i)
                    code.operands[i] = static_cast<std::uint8_t>(now(code.operands[i]));
                tape.code.push_back(code);
            }
            last = now(own.outputs.at(0));
        }
        if (tape.code.empty())
            tape = {};
        else
            tape.outputs = {static_cast<std::uint8_t>(last)};
        return true;
    }
};

class Joiner {
  public:
    Joiner(const Program& p, const Options& options, Groups& groups)
        : p_(p), options_(options), g_(groups), is_result_(results_of(p, groups)), readers_(readers_of(p)) {}

    void run() {
        for (Index i = 0; i < p_.bases.size(); ++i) {
            if (!p_.bases[i].needed || !is_product(i) || p_.apart[i]) continue;
            for (std::size_t operand = 0; operand < 2; ++operand) consider(i, operand);
        }
        std::stable_sort(found_.begin(), found_.end(), [](const Found& x, const Found& y) { return x.gain > y.gain; });
        std::vector<bool> taken(g_.groups.size());
        for (Found& f : found_) {
            if (std::any_of(f.groups.begin(), f.groups.end(), [&](std::uint32_t g) { return taken[g]; })) continue;
            if (makes_circle(f)) {
                g_.groups[f.groups[0]].apart = "what is kept of the intermediate leads to what the chain reads";
                continue;
            }
            for (const std::uint32_t g : f.groups) taken[g] = true;
            merge(f);
        }
        compact(g_);
    }

  private:
    struct Found {
        double gain;
        std::vector<std::uint32_t> groups;  // the second product's first
        std::shared_ptr<Draft> draft;
    };

    bool is_product(Index i) const { return p_.bases[i].kind == Kind::product && is_contract(p_.node(i)); }
    /// The product of a group, if it has one.
    std::optional<Index> product_of(const Group& g) const {
        if (g.has_product) return g.product;
        if (g.members.size() == 1 && is_product(g.members[0])) return g.members[0];
        return {};
    }

    /// Whether only one group reads the base, and the base gets no value.
    bool is_read_once(Index base, std::uint32_t by) const {
        if (p_.bases[base].escapes) return false;
        const std::uint32_t own = g_.of[base];
        return std::all_of(readers_[base].begin(), readers_[base].end(),
                           [&](Index r) { return g_.of[r] == own || g_.of[r] == by; });
    }

    /// Follows an operand to the product that it comes from. Empty, with the reason if there is such a product.
    std::optional<Path> path(Index second, std::size_t operand, std::string_view& why) const {
        Path path;
        if (!is_chainable(p_.bases[second].operands[operand].base)) return {};
        const std::uint32_t last = g_.of[second];
        path.stages.push_back({last, operand, drafted(last)});
        const auto refuse = [&](const char* reason) -> std::optional<Path> {
            why = reason;
            return {};
        };
        while (true) {
            const Path::Stage& reader = path.stages.back();
            const std::vector<Source>& in = reader.draft.in;
            const Index base = in[reader.input].base;
            if (!is_computed(p_.bases[base].kind)) return {};
            const std::uint32_t at = g_.of[base];
            const Group& g = g_.groups[at];
            const bool first = product_of(g).has_value();
            if (!first && (g.domain.by_rows || !is_elementwise(p_.bases[g.members[0]].kind))) return {};
            Path::Stage stage{at, 0, drafted(at)};
            const bool once = std::count_if(in.begin(), in.end(), [&](const Source& s) { return s.base == base; }) == 1;
            if (!once || stage.draft.out.size() != 1) {
                if (!first && !leads_to_product(stage.draft)) return {};
                return refuse("something else reads what is between the products");
            }
            stage.kept = !is_read_once(base, reader.group);
            path.stages.push_back(std::move(stage));
            if (first) return path;
            const std::vector<Source>& more = path.stages.back().draft.in;
            const auto from =
                std::find_if(more.begin(), more.end(), [&](const Source& s) { return is_chainable(s.base); });
            if (from == more.end()) return {};
            path.stages.back().input = static_cast<std::size_t>(from - more.begin());
        }
    }
    bool is_chainable(Index base) const {
        if (!is_computed(p_.bases[base].kind)) return false;
        const Group& g = g_.groups[g_.of[base]];
        return product_of(g) || (!g.domain.by_rows && is_elementwise(p_.bases[g.members[0]].kind));
    }
    bool leads_to_product(const Draft& d) const {
        return std::any_of(d.in.begin(), d.in.end(), [&](const Source& s) {
            return is_computed(p_.bases[s.base].kind) && product_of(g_.groups[g_.of[s.base]]);
        });
    }

    /// Asks src/product about a chain whose memory is not known yet.
    template <class F>
    auto asked(const Draft& d, F f) const {
        std::vector<View> in;
        for (const Source& s : d.in) {
            in.push_back({nullptr, p_.dtype(s.base), s.layout});
            in.back().layout.offset = 0;
        }
        std::vector<View> out;
        for (std::size_t i = 0; i < d.out.size(); ++i) out.push_back({nullptr, p_.dtype(d.out[i]), d.out_layouts[i]});
        return with_chain(d.task, in, out, f);
    }

    /// The three groups of a chain with work over rows, and where each one reads the previous one.
    struct RowPath {
        const Draft &one, &rows, &to;
        Source z;  // the first product, as the rows' work reads it
        std::size_t z_input;  // which input of the rows' work that is
        Index first, second;
        std::size_t operand;  // of the second product
    };

    /// Such groups as one chain task; false if strides cannot express what is read.
    bool draft_of(const RowPath& path, const std::vector<std::uint32_t>& groups, Draft& d) const {
        const auto& [one, rows, to, z, z_input, first, second, operand] = path;
        const ContractLabels labels1 = contract_labels(p_.node(first)), labels2 = contract_labels(p_.node(second));
        auto chain = std::make_shared<ChainTask>();
        const auto list = [](const AxisLabels& l) { return std::vector<std::uint8_t>(l.label, l.label + l.rank); };
        chain->first = {list(labels1.a), list(labels1.b), list(labels1.out)};
        chain->second = {list(labels2.a), list(labels2.b), list(labels2.out)};
        chain->product = p_.dtype(first);
        chain->rows = rows.task.rows;
        chain->row_input = z_input;
        chain->z_is_a = operand == 0;
        d.in = {one.in[0], one.in[1], to.in[1 - operand]};
        const Shape& shape = p_.bases[first].shape;
        Shape without = shape;
        without.erase(shape.rank() - 1);
        for (std::size_t i = 0; i < rows.in.size(); ++i) {
            if (i == z_input) continue;
            Source s = rows.in[i];
            if (!s.layout.reshape(rows.task.rows.inputs[i].per_row ? without : shape, s.layout)) return false;
            d.in.push_back(std::move(s));
        }
        d.task.kind = Task::Kind::chain;
        d.task.node = second;
        for (const std::uint32_t g : groups)
            d.task.nodes.insert(d.task.nodes.end(), g_.groups[g].members.begin(), g_.groups[g].members.end());
        std::sort(d.task.nodes.begin(), d.task.nodes.end());
        d.out = to.out, d.out_layouts = to.out_layouts;
        d.task.chain = std::move(chain);
        d.task.cost = cost_of(p_, d.task.nodes, d);
        return true;
    }

    /// contract -> rows -> contract: nothing else reads either intermediate, and z's last axis is the rows'.
    bool consider_rows(Index second, std::size_t operand) {
        const std::uint32_t last = g_.of[second];
        const Source& p = p_.bases[second].operands[operand];
        if (!g_.groups[g_.of[p.base]].domain.by_rows) return false;
        const std::uint32_t at = g_.of[p.base];
        const Draft &rows = drafted(at), &to = drafted(last);
        if (rows.task.kind != Task::Kind::rows) return false;
        const auto z_at = std::find_if(rows.in.begin(), rows.in.end(), [&](const Source& s) {
            return is_computed(p_.bases[s.base].kind) && product_of(g_.groups[g_.of[s.base]]);
        });
        if (z_at == rows.in.end()) return false;
        const std::uint32_t from = g_.of[z_at->base];
        const RowPath path{drafted(from),
                           rows,
                           to,
                           *z_at,
                           static_cast<std::size_t>(z_at - rows.in.begin()),
                           *product_of(g_.groups[from]),
                           second,
                           operand};
        const auto refuse = [&](const char* why) {
            g_.groups[last].apart = why;
            return true;
        };
        const auto reads = [](const Draft& d, Index base) {
            return std::count_if(d.in.begin(), d.in.end(), [&](const Source& s) { return s.base == base; });
        };
        if (rows.out.size() != 1 || reads(to, p.base) != 1 || reads(rows, z_at->base) != 1 ||
            !is_read_once(p.base, last) || !is_read_once(z_at->base, at))
            return refuse("something else reads what is between the products");
        const Shape& z = p_.bases[path.first].shape;
        if (!path.one.task.tape.outputs.empty() || !to.task.tape.outputs.empty())
            return refuse("a product beside the rows' work has an epilogue");
        if (!is_whole(p_, p) || !(p.layout.shape == z) || !is_whole(p_, *z_at) || z.rank() == 0 ||
            rows.task.rows.inputs[path.z_input].per_row)
            return refuse("the rows' work or the second product reads the intermediate in other axes");
        if (g_.groups[at].domain.shape.back() != z.back())
            return refuse("the rows that are reduced are not those of the intermediate");
        auto d = std::make_shared<Draft>();
        if (!draft_of(path, {from, at, last}, *d))
            return refuse("strides cannot express what is read beside the intermediate");
        const auto asked_rows = [&](auto f) {
            std::vector<View> in;
            for (const Source& s : d->in) {
                in.push_back({nullptr, p_.dtype(s.base), s.layout});
                in.back().layout.offset = 0;
            }
            return with_row_chain(d->task, in, View{nullptr, p_.dtype(d->out[0]), d->out_layouts[0]}, f);
        };
        const char* why = options_.ignore_cost ? asked_rows(product::unsupported)
                                               : asked_rows([](const product::RowChain& c) { return declines(c); });
        if (why) return refuse(why);
        const double gain = asked_rows(product::intermediate_bytes);
        found_.push_back({gain, {last, at, from}, std::move(d)});
        return true;
    }

    /// The only group that reads a base, if it is one of pointwise work or (`product`) of a product.
    const Group* only_reader(Index base, bool product) const {
        const std::uint32_t own = g_.of[base];
        const Group* only = nullptr;
        for (const Index r : readers_[base]) {
            if (g_.of[r] == own) continue;
            const Group& g = g_.groups[g_.of[r]];
            if (only && only != &g) return nullptr;
            only = &g;
        }
        if (!only || p_.bases[base].escapes || product_of(*only).has_value() != product) return nullptr;
        return product || (!only->domain.by_rows && is_elementwise(p_.bases[only->members[0]].kind)) ? only : nullptr;
    }
    /// Whether a product belongs with the function that reads it and the product after that (schedule/hidden.h): on a
    /// device this saves more than a pass with the product before.
    bool goes_with_function(Index second) const {
        if (!options_.recompute || p_.graph->device == Device::cpu()) return false;
        const Group* const function = only_reader(second, false);
        if (!function) return false;
        std::vector<Draft> all{drafted(g_.of[second]), draft(p_, *function, is_result_)};
        if (all[1].out.size() != 1) return false;
        const Group* const behind = only_reader(all[1].out[0], true);
        if (!behind) return false;
        all.push_back(draft(p_, *behind, is_result_));
        return is_hidden(p_, std::move(all));
    }

    void consider(Index second, std::size_t operand) {
        if (!is_computed(p_.bases[p_.bases[second].operands[operand].base].kind)) return;
        // Devices have no kernel for row reductions in between.
        if (options_.rows && p_.graph->device == Device::cpu() && consider_rows(second, operand)) return;
        std::string_view why;
        const auto found = path(second, operand, why);
        std::shared_ptr<Draft> chain;
        if (found) chain = join(second, *found, why);
        if (chain && goes_with_function(second)) {
            why = "the product goes with the function of its values and the product behind that";
            chain.reset();
        }
        if (!chain) {
            if (!why.empty()) g_.groups[g_.of[second]].apart = why;
            return;
        }
        const product::ChainCost cost = asked(*chain, [](const product::Chain& c) { return product::cost(c); });
        Found f{cost.intermediate_bytes, {}, std::move(chain)};
        for (const Path::Stage& s : found->stages) f.groups.push_back(s.group);
        found_.push_back(std::move(f));
    }

    std::shared_ptr<Draft> join(Index second, const Path& path, std::string_view& why) const {
        const auto refuse = [&](const char* reason) {
            why = reason;
            return nullptr;
        };
        const Path::Stage &from = path.stages.back(), &to = path.stages.front();
        const Index first = *product_of(g_.groups[from.group]);
        const Layout stored = Layout::contiguous(p_.bases[first].shape);
        const auto is_empty = [](const Draft& d) { return d.in[0].layout.count() == 0 || d.in[1].layout.count() == 0; };
        if (is_empty(from.draft) || is_empty(to.draft)) return refuse("an axis has no elements");
        Digits order = digits_of(stored.shape);
        Between between;
        Kept kept;
        for (std::size_t s = path.stages.size(); s-- > 1;) {
            const Path::Stage& stage = path.stages[s];
            const bool is_first = s + 1 == path.stages.size();
            const bool plain = is_first && stage.draft.task.tape.outputs.empty();  // no epilogue
            if (stage.kept && !plain && s != 1) return refuse("something else reads what is between the products");
            if (stage.kept && plain) kept.product = keep(stage, order);
            if (plain) continue;
            const auto axes = read(order, is_first ? stored : stage.draft.in[stage.input].layout);
            if (!axes) return refuse("the way from one product to the other is no permutation of axes");
            between.add(stage.draft, is_first ? 2 : 0, is_first ? 0 : stage.input, *axes);
            order = joined(*axes);
            if (stage.kept) kept.intermediate = keep(stage, order);
        }
        auto axes = read(order, to.draft.in[to.input].layout);
        if (!axes)
            return refuse("the second product does not read each element of the intermediate once, axis by axis");
        if (between.sides.size() > std::size_t{product::kMaxEpilogueInputs} || !between.build(p_, p_.dtype(first)))
            return refuse("the work between the products reads too much");
        auto d = bind(first, second, path, between, kept, *axes);
        if (!d) return refuse("the intermediate has too many axes");
        const auto computed_here = [&](const Source& s) {
            return is_computed(p_.bases[s.base].kind) &&
                   std::any_of(path.stages.begin(), path.stages.end(),
                               [&](const Path::Stage& stage) { return stage.group == g_.of[s.base]; });
        };
        if (std::any_of(d->in.begin(), d->in.end(), computed_here))
            return refuse("another operand of the chain is what is between its products");
        d->task.chain->always = options_.ignore_cost;
        const char* declined = asked(*d, [&](const product::Chain& c) { return chain_declines(p_.graph->device, c); });
        if (declined && !options_.ignore_cost) return refuse(declined);
        return d;
    }

    /// The result of a stage, row-major, in these digits.
    static Keep keep(const Path::Stage& stage, const Digits& order) {
        const Layout own = Layout::contiguous(stage.draft.out_layouts[0].shape);
        return {stage.draft.out[0], Side({stage.draft.out[0], own}, *read(order, own))};
    }

    std::shared_ptr<Draft> bind(Index first, Index second, const Path& path, const Between& between, const Kept& kept,
                                const std::vector<Digits>& axes) const {
        const Path::Stage &from = path.stages.back(), &to = path.stages.front();
        const bool z_is_a = to.input == 0;
        Digits z = joined(axes);
        std::sort(z.begin(), z.end(), [](const Digit& x, const Digit& y) { return x.z > y.z; });
        const ContractLabels labels1 = contract_labels(p_.node(first)), labels2 = contract_labels(p_.node(second));
        const Layout stored = Layout::contiguous(p_.bases[first].shape);
        Relabelled one, two;
        for (int i = 0; i < stored.rank(); ++i)
            for (const Digit& d : z)
                if (stored.shape[i] != 1 && stored.strides[i] <= d.z && d.z < stored.strides[i] * stored.shape[i])
                    one.add(labels1.out.label[i], d.extent);
        const AxisLabels &of_z = z_is_a ? labels2.a : labels2.b, &of_c = z_is_a ? labels2.b : labels2.a;
        auto chain = std::make_shared<ChainTask>();
        Layout reading;
        for (std::size_t i = 0; i < axes.size(); ++i)
            for (std::size_t d = 0; d < axes[i].size(); ++d) {
                Digit digit = axes[i][d];
                for (; d + 1 < axes[i].size() && digit.z == axes[i][d + 1].z * axes[i][d + 1].extent; ++d)
                    digit = {digit.extent * axes[i][d + 1].extent, axes[i][d + 1].z};
                two.add(of_z.label[i], digit.extent);
                if (reading.rank() == kMaxRank) return nullptr;
                reading.shape.push_back(digit.extent), reading.strides.push_back(digit.z);
            }
        const Draft &d1 = from.draft, &d2 = to.draft;
        one.add_others(labels1.a, d1.in[0].layout.shape);
        one.add_others(labels1.b, d1.in[1].layout.shape);
        const Source& c = d2.in[z_is_a ? 1 : 0];
        two.add_others(of_c, c.layout.shape);
        for (const AxisLabels* l : {&labels1.a, &labels1.b, &labels1.out})
            if (!one.fits(*l)) return nullptr;
        for (const AxisLabels* l : {&labels2.a, &labels2.b, &labels2.out})
            if (!two.fits(*l)) return nullptr;

        auto d = std::make_shared<Draft>();
        d->task.kind = Task::Kind::chain;
        d->task.node = second;
        for (const Path::Stage& s : path.stages)
            d->task.nodes.insert(d->task.nodes.end(), g_.groups[s.group].members.begin(),
                                 g_.groups[s.group].members.end());
        std::sort(d->task.nodes.begin(), d->task.nodes.end());
        d->task.tape = d2.task.tape;
        chain->first = {one.labels(labels1.a), one.labels(labels1.b), one.labels(labels1.out)};
        chain->second = {two.labels(labels2.a), two.labels(labels2.b), two.labels(labels2.out)};
        chain->product = p_.dtype(first);
        chain->between = between.tape;
        chain->between_inputs = between.sides.size();
        chain->reading = reading;
        chain->z_is_a = z_is_a;
        d->in.push_back({d1.in[0].base, one.layout(labels1.a, d1.in[0].layout)});
        d->in.push_back({d1.in[1].base, one.layout(labels1.b, d1.in[1].layout)});
        d->in.push_back({c.base, two.layout(of_c, c.layout)});
        for (const Side& s : between.sides) d->in.push_back(s.under(z));
        for (std::size_t i = 2; i < d2.in.size(); ++i)
            d->in.push_back({d2.in[i].base, two.layout(labels2.out, d2.in[i].layout)});
        d->out = d2.out;
        d->out_layouts = {two.layout(labels2.out, Layout::contiguous(p_.bases[second].shape))};
        for (const auto* each : {&kept.product, &kept.intermediate})
            if (*each) d->out.push_back((*each)->base), d->out_layouts.push_back((*each)->side.under(z).layout);
        chain->keeps_product = kept.product.has_value(), chain->keeps_intermediate = kept.intermediate.has_value();
        d->task.chain = std::move(chain);
        d->task.cost = cost_of(p_, d->task.nodes, *d);
        return d;
    }

    /// Whether a path leads from one of the groups to another through a third group, which would read what is kept and
    /// produce what the chain reads: the task would wait for itself.
    bool makes_circle(const Found& f) const {
        const auto is_own = [&](std::uint32_t g) {
            return std::find(f.groups.begin(), f.groups.end(), g) != f.groups.end();
        };
        std::vector<std::uint32_t> stack(f.groups.begin() + 1, f.groups.end());
        std::vector<bool> seen(g_.groups.size());
        while (!stack.empty()) {
            const std::uint32_t at = stack.back();
            stack.pop_back();
            for (const Index m : g_.groups[at].members)
                for (const Index r : readers_[m]) {
                    const std::uint32_t next = g_.of[r];
                    if (is_own(next)) {
                        if (!is_own(at)) return true;
                    } else if (!seen[next]) {
                        seen[next] = true;
                        stack.push_back(next);
                    }
                }
        }
        return false;
    }

    void merge(Found& f) {
        schedule::join(g_, f.groups, std::move(f.draft));
        g_.groups[f.groups[0]].apart = {};
    }

    /// The draft of a group. None is joined before all pairs have been considered.
    const Draft& drafted(std::uint32_t at) const {
        std::shared_ptr<Draft>& d = g_.groups[at].drafted;
        if (!d) d = std::make_shared<Draft>(draft(p_, g_.groups[at], is_result_));
        return *d;
    }

    const Program& p_;
    const Options& options_;
    Groups& g_;
    std::vector<bool> is_result_;
    Lists readers_;
    std::vector<Found> found_;
};

}  // namespace

void join_chains(const Program& program, const Options& options, Groups& groups) {
    if (options.chain) Joiner(program, options, groups).run();
}

}  // namespace tenon::schedule
