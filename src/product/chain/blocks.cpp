#include "product/chain/blocks.h"

#include <algorithm>
#include <numeric>

#include "base/parallel.h"
#include "product/chain/cost.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/float_environment.h"

namespace tenon::product::chain {
namespace {

/// Multiply-adds for each element of the weights in a block, below which packing the weights again costs too much.
constexpr std::int64_t kMinUses = 192;

/// The steps of z in a block, one for each axis of the intermediate, the cut axis slowest. The fastest is the axis
/// along which the output is contiguous, or otherwise the last one that the second product sums. If both factors have
/// batches, the rows are contiguous instead, so that both products read and write runs of memory.
std::vector<std::int64_t> steps_of(const BlocksForm& form) {
    const std::vector<IntermediateAxis>& axes = form.intermediate->axes;
    const auto cut = static_cast<std::size_t>(form.cut);
    const bool batched =
        std::any_of(axes.begin(), axes.end(), [](const IntermediateAxis& axis) { return axis.in_a && axis.in_b; });
    const auto rank = [&](std::size_t i) {  // higher is faster
        const IntermediateAxis& axis = axes[i];
        if (i == cut) return batched ? 1000 : -1000;
        return axis.summed() ? 1 + axis.order : axis.out == 1 ? 500 : 0;
    };
    std::vector<std::size_t> order(axes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) { return rank(x) < rank(y); });
    std::vector<std::int64_t> steps(axes.size());
    std::int64_t step = 1;
    for (auto i = order.rbegin(); i != order.rend(); ++i) {
        steps[*i] = step;
        step *= *i == cut ? form.block : axes[*i].extent;
    }
    return steps;
}

/// The cut axis, last of its list, becomes a batch axis if the output is contiguous along another axis of the list:
/// each of its indices is then a product with operands in place.
void make_batch(AxisRoles& roles, AxisList& list) {
    const Axis last = list.end()[-1];
    for (int i = 0; i + 1 < list.size; ++i)
        if (list.begin()[i].out == 1 && list.begin()[i].extent > 1 && last.out != 1) {
            --list.size;
            roles.batch.push_back(last);
            return;
        }
}

class Block {
  public:
    Block(const Chain& chain, const BlocksForm& form)
        : chain_(chain),
          form_(form),
          steps_(steps_of(form)),
          scratch_(bytes(chain.product)),
          mapped_(intermediate_dtype(chain) == chain.product ? 64 : bytes(intermediate_dtype(chain))),
          output_(output_bytes()) {}

    void run(std::int64_t index) {
        begin_ = index * form_.block;
        extent_ = std::min(form_.block, cut().extent - begin_);
        View z{scratch_.data(), chain_.product, {}};
        dense::contract_blocked(first_roles(), moved(chain_.a, cut().a), moved(chain_.b, cut().b), z, {}, {});
        keep(Kept::product, scratch_.data());
        if (chain_.between) run_between();
        z.dtype = intermediate_dtype(chain_);
        if (chain_.product != z.dtype) z.data = mapped_.data();
        keep(Kept::intermediate, z.data);
        const View c = moved(chain_.c, cut().c);
        View out = moved(chain_.out, cut().out);
        std::vector<std::int64_t> out_steps;
        if (chain_.epilogue) out = own_output(out_steps);
        const AxisRoles roles = second_roles(out_steps);
        if (chain_.z_is_a)
            dense::contract_blocked(roles, z, c, out, chain_.finish, {});
        else
            dense::contract_blocked(roles, c, z, out, chain_.finish, {});
        if (chain_.epilogue) run_epilogue(out, out_steps);
    }

  private:
    const IntermediateAxis& cut() const { return form_.intermediate->axes[static_cast<std::size_t>(form_.cut)]; }
    std::int64_t extent(std::size_t i) const {
        return static_cast<int>(i) == form_.cut ? extent_ : form_.intermediate->axes[i].extent;
    }
    std::size_t bytes(DType type) const {
        return static_cast<std::size_t>(form_.intermediate->elements / cut().extent * form_.block) * size_of(type);
    }
    std::size_t output_bytes() const {
        if (!chain_.epilogue) return 64;
        const std::int64_t elements = chain_.out.layout.count() / cut().extent * form_.block;
        return static_cast<std::size_t>(elements) * size_of(chain_.epilogue->tape.inputs[0]);
    }
    /// The part of a view that belongs to this block.
    View moved(const View& v, std::int64_t step) const {
        View part{
            static_cast<std::byte*>(v.data) + begin_ * step * static_cast<std::int64_t>(size_of(v.dtype)), v.dtype, {}};
        return part;
    }

    AxisRoles first_roles() const {
        AxisRoles roles;
        roles.summed = form_.intermediate->summed;
        const auto add = [&](std::size_t i) {
            const IntermediateAxis& m = form_.intermediate->axes[i];
            const Axis axis{extent(i), m.a, m.b, steps_[i]};
            (m.in_a && m.in_b ? roles.batch : m.in_a ? roles.rows : roles.columns).push_back(axis);
        };
        for (std::size_t i = 0; i < steps_.size(); ++i)
            if (static_cast<int>(i) != form_.cut) add(i);
        add(static_cast<std::size_t>(form_.cut));
        make_batch(roles, cut().in_a ? roles.rows : roles.columns);
        return roles;
    }

    /// `out_steps`: the steps of a temporary output, for the intermediate's axes and then the columns; or empty.
    AxisRoles second_roles(const std::vector<std::int64_t>& out_steps) const {
        AxisRoles roles;
        const auto add = [&](AxisList& list, std::int64_t n, std::int64_t z, std::int64_t c, std::int64_t out) {
            list.push_back(chain_.z_is_a ? Axis{n, z, c, out} : Axis{n, c, z, out});
        };
        AxisList &of_z = chain_.z_is_a ? roles.rows : roles.columns, &of_c = chain_.z_is_a ? roles.columns : roles.rows;
        const auto add_kept = [&](std::size_t i) {
            const IntermediateAxis& m = form_.intermediate->axes[i];
            add(m.in_c ? roles.batch : of_z, extent(i), steps_[i], m.c, out_steps.empty() ? m.out : out_steps[i]);
        };
        std::vector<std::size_t> summed;
        for (std::size_t i = 0; i < steps_.size(); ++i)
            if (form_.intermediate->axes[i].summed())
                summed.push_back(i);
            else if (static_cast<int>(i) != form_.cut)
                add_kept(i);
        add_kept(static_cast<std::size_t>(form_.cut));
        make_batch(roles, of_z);
        std::sort(summed.begin(), summed.end(), [&](std::size_t x, std::size_t y) {
            return form_.intermediate->axes[x].order < form_.intermediate->axes[y].order;
        });
        for (const std::size_t i : summed) add(roles.summed, extent(i), steps_[i], form_.intermediate->axes[i].c, 0);
        for (std::size_t j = 0; j < form_.intermediate->columns.size(); ++j) {
            const ColumnAxis& column = form_.intermediate->columns[j];
            add(of_c, column.extent, 0, column.c, out_steps.empty() ? column.out : out_steps[steps_.size() + j]);
        }
        return roles;
    }

    void add_axis(std::vector<View>& views, std::int64_t n, std::int64_t own,
                  const std::array<std::int64_t, kMaxEpilogueInputs>& inputs) const {
        views[0].layout.shape.push_back(n), views[0].layout.strides.push_back(own);
        for (std::size_t i = 1; i < views.size(); ++i)
            views[i].layout.shape.push_back(n), views[i].layout.strides.push_back(inputs[i - 1]);
    }
    void place_inputs(std::vector<View>& views, const Epilogue& tape,
                      const std::array<std::int64_t, kMaxEpilogueInputs>& steps) const {
        for (std::size_t i = 0; i < tape.inputs.size(); ++i) {
            views[i + 1].data = moved(tape.inputs[i], steps[i]).data;
            views[i + 1].dtype = tape.inputs[i].dtype;
        }
    }

    void keep(Kept which, const void* z) const {
        const View* kept = kept_view(chain_, which);
        if (!kept) return;
        KeptPart part;
        for (std::size_t i = 0; i < steps_.size(); ++i)
            part.add(extent(i), steps_[i], form_.intermediate->axes[i], which);
        const FloatEnvironment environment(Subnormals::keep);
        part.copy(*kept, begin_ * cut().kept[static_cast<std::size_t>(which)], z);
    }

    void run_between() {
        const Epilogue& tape = *chain_.between;
        std::vector<View> views(tape.inputs.size() + 1);
        for (std::size_t i = 0; i < steps_.size(); ++i)
            add_axis(views, extent(i), steps_[i], form_.intermediate->axes[i].inputs);
        place_inputs(views, tape, cut().inputs);
        views[0].data = scratch_.data();
        views[0].dtype = chain_.product;
        View to = views[0];
        to.dtype = intermediate_dtype(chain_);
        if (to.dtype != chain_.product) to.data = mapped_.data();
        const FloatEnvironment environment(Subnormals::keep);
        tape::run(tape.tape, views, {&to, 1});
    }

    /// Memory for the second product if an epilogue follows.
    View own_output(std::vector<std::int64_t>& steps) {
        const std::vector<ColumnAxis>& columns = form_.intermediate->columns;
        steps.assign(steps_.size() + columns.size(), 0);
        std::int64_t step = 1;
        for (std::size_t j = columns.size(); j-- > 0;) steps[steps_.size() + j] = step, step *= columns[j].extent;
        for (std::size_t i = steps_.size(); i-- > 0;) {
            if (form_.intermediate->axes[i].summed()) continue;
            steps[i] = step;
            step *= extent(i);
        }
        return {output_.data(), chain_.epilogue->tape.inputs[0], {}};
    }

    void run_epilogue(const View& product, const std::vector<std::int64_t>& steps) {
        const Epilogue& tape = *chain_.epilogue;
        std::vector<View> views(tape.inputs.size() + 1);
        View to = moved(chain_.out, cut().out);
        for (std::size_t i = 0; i < steps_.size(); ++i) {
            const IntermediateAxis& m = form_.intermediate->axes[i];
            if (m.summed()) continue;
            add_axis(views, extent(i), steps[i], m.after);
            to.layout.shape.push_back(extent(i)), to.layout.strides.push_back(m.out);
        }
        for (std::size_t j = 0; j < form_.intermediate->columns.size(); ++j) {
            const ColumnAxis& column = form_.intermediate->columns[j];
            add_axis(views, column.extent, steps[steps_.size() + j], column.after);
            to.layout.shape.push_back(column.extent), to.layout.strides.push_back(column.out);
        }
        place_inputs(views, tape, cut().after);
        views[0].data = product.data;
        views[0].dtype = product.dtype;
        const FloatEnvironment environment(Subnormals::keep);
        tape::run(tape.tape, views, {&to, 1});
    }

    const Chain& chain_;
    const BlocksForm& form_;
    const std::vector<std::int64_t> steps_;
    dense::Scratch scratch_, mapped_, output_;
    std::int64_t begin_ = 0, extent_ = 0;
};

/// Multiply-adds of both products in a block for each element of their weights, the operands without the cut axis.
double uses(const Chain& chain, const Intermediate& m, const IntermediateAxis& cut, std::int64_t block) {
    const double z = static_cast<double>(m.elements / cut.extent * block);
    const View& weights = cut.in_a ? chain.b : chain.a;
    const double first = z * static_cast<double>(m.summed.count()) / static_cast<double>(weights.layout.count());
    const double second = z * static_cast<double>(m.column_count()) / static_cast<double>(chain.c.layout.count());
    return std::min(first, second);
}

}  // namespace

BlocksForm blocks_form(const Chain& chain, const Intermediate& intermediate, int threads) {
    BlocksForm form;
    form.intermediate = &intermediate;
    const Intermediate& m = *form.intermediate;
    if ((form.unsupported = m.declines)) return form;
    for (std::size_t i = 0; i < m.axes.size(); ++i) {
        const IntermediateAxis& axis = m.axes[i];
        if (axis.summed() || axis.in_c || axis.in_a == axis.in_b) continue;
        if (form.cut < 0 || axis.extent > m.axes[static_cast<std::size_t>(form.cut)].extent)
            form.cut = static_cast<int>(i);
    }
    const auto fail = [&](const char* why) {
        (form.cut < 0 ? form.unsupported : form.unprofitable) = why;
        return form;
    };
    if (form.cut < 0) return fail("no axis is a row of both products");
    const IntermediateAxis& cut = m.axes[static_cast<std::size_t>(form.cut)];
    const DType product = chain.product, mapped = intermediate_dtype(chain);
    const std::size_t element = size_of(product) + (product != mapped ? size_of(mapped) : 0);
    const std::int64_t row_bytes = m.elements / cut.extent * static_cast<std::int64_t>(element);
    form.block = std::min(cut.extent, std::max<std::int64_t>(1, block_bytes() / row_bytes));
    const std::int64_t wanted = threads == 1 ? 1 : 2 * threads;
    while (form.block > 1 && dense::ceil_div(cut.extent, form.block) < wanted)
        form.block = dense::ceil_div(form.block, 2);
    form.blocks = dense::ceil_div(cut.extent, form.block);
    if (row_bytes > block_bytes()) return fail("a row of the intermediate is larger than half of L2");
    const auto bytes_of = [](const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); };
    const bool kept = chain.kept_product || chain.kept_intermediate;
    if (kept && bytes_of(cut.in_a ? chain.b : chain.a) + bytes_of(chain.c) > most_weights(chain))
        return fail(kWeightsTooLarge);
    const ChainCost c = cost_of(chain, m);
    if (c.intermediate_bytes <= cached_bytes()) return fail("the intermediate stays in cache as it is");
    if (uses(chain, m, cut, form.block) < static_cast<double>(kMinUses))
        return fail("a block of rows is too small to pay for packing the weights again");
    if (c.intermediate_bytes * kOperationsPerByte < kMinGain * c.operations)
        return fail("both products are bound by arithmetic, and the intermediate is small");
    return form;
}

void run_blocks(const Chain& chain, const BlocksForm& form) {
    parallel_for(form.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        Block block(chain, form);
        for (std::int64_t i = begin; i < end; ++i) block.run(i);
    });
}

}  // namespace tenon::product::chain
