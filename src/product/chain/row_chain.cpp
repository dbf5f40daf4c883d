#include "product/chain/row_chain.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "base/text.h"
#include "product/chain/cost.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/float_environment.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

using dense::ceil_div;

/// Rows of a block below which packing the other operands again for each block costs more than the saved memory
/// traffic.
constexpr std::int64_t kMinRows = 64;

using LabelList = std::span<const std::uint8_t>;

int find(LabelList labels, std::uint8_t label) {
    const auto it = std::find(labels.begin(), labels.end(), label);
    return it == labels.end() ? -1 : static_cast<int>(it - labels.begin());
}

/// An axis of z, and its steps (in elements) in everything that has it.
struct RowAxis {
    std::int64_t extent = 1, a = 0, b = 0, c = 0, out = 0;
    bool in_a = false, in_b = false, in_c = false, in_out = false;
    std::vector<std::int64_t> inputs;
};

struct Form {
    const char* unsupported = nullptr;
    std::vector<RowAxis> outer;  // one index of each at a time
    RowAxis row, column;  // the axis that is cut into blocks, and the one that is reduced
    AxisList summed;  // of the first product
    std::vector<Axis> columns;  // of the second: extent, c (in b) and out
    std::int64_t block = 0, blocks = 0, outers = 1;
    DType intermediate = DType::float32;
    bool in_place = false;  // the tape overwrites the sums
};

std::int64_t step_in(const View& v, LabelList labels, std::uint8_t label, bool& has) {
    const int i = find(labels, label);
    has = i >= 0;
    return has ? v.layout.strides[i] : 0;
}

/// The first product's output, row-major. Throws where labels, operands and the tape do not fit; `f` gets what is
/// summed and the dtype between.
View intermediate(const RowChain& chain, Form& f) {
    const tape::RowTape& tape = *chain.rows;
    View z{nullptr, chain.product, {}};
    for (const std::uint8_t label : chain.first.out) {
        const int in_a = find(chain.first.a, label), in_b = find(chain.first.b, label);
        if (in_a < 0 && in_b < 0) throw ShapeError("row chain: a label of the intermediate stands in no operand");
        z.layout.shape.push_back(in_a >= 0 ? chain.a.shape()[in_a] : chain.b.shape()[in_b]);
    }
    z.layout = Layout::contiguous(z.layout.shape);
    f.summed = assign_roles(chain.a, chain.b, z, chain.first).summed;
    f.intermediate = tape.code.at(tape.outputs.at(0) - tape.inputs.size()).instruction.result;
    View read = z;
    read.dtype = f.intermediate;
    if (chain.z_is_a)
        assign_roles(read, chain.c, chain.out, chain.second);
    else
        assign_roles(chain.c, read, chain.out, chain.second);
    if (tape.outputs.size() != 1 || tape.inputs.size() != chain.inputs.size() ||
        tape.inputs.at(chain.z_input).type != chain.product || tape.inputs[chain.z_input].per_row)
        throw ValueError("row chain: the tape takes the product and its inputs, and gives one output");
    return z;
}

/// The axes of z, and where each is in the operands.
std::vector<RowAxis> axes_of(const RowChain& chain, const View& z, LabelList z_labels, LabelList c_labels) {
    const int rank = z.layout.rank();
    std::vector<RowAxis> axes;
    for (int i = 0; i < rank; ++i) {
        const auto at = static_cast<std::size_t>(i);
        RowAxis axis;
        axis.extent = z.layout.shape[i];
        axis.a = step_in(chain.a, chain.first.a, chain.first.out[at], axis.in_a);
        axis.b = step_in(chain.b, chain.first.b, chain.first.out[at], axis.in_b);
        axis.c = step_in(chain.c, c_labels, z_labels[at], axis.in_c);
        axis.out = step_in(chain.out, chain.second.out, z_labels[at], axis.in_out);
        for (std::size_t k = 0; k < chain.inputs.size(); ++k)
            axis.inputs.push_back(k == chain.z_input || (chain.rows->inputs[k].per_row && i + 1 == rank)
                                      ? 0
                                      : chain.inputs[k].layout.strides[i]);
        axes.push_back(std::move(axis));
    }
    return axes;
}

/// How many rows a block has, and how many blocks there are.
void cut(const RowChain& chain, Form& f) {
    f.in_place =
        size_of(f.intermediate) == size_of(chain.product) && tape::may_overwrite(*chain.rows, chain.z_input, 0);
    const std::size_t element = size_of(chain.product) + (f.in_place ? 0 : size_of(f.intermediate));
    const std::int64_t row_bytes = f.column.extent * static_cast<std::int64_t>(element);
    f.block = std::clamp<std::int64_t>(chain::block_bytes() / row_bytes, 1, f.row.extent);
    const std::int64_t wanted = num_threads() == 1 ? 1 : 2 * num_threads();
    while (f.block > kMinRows && f.outers * ceil_div(f.row.extent, f.block) < wanted) f.block = ceil_div(f.block, 2);
    f.blocks = ceil_div(f.row.extent, f.block);
}

Form form_of(const RowChain& chain) {
    Form f;
    const View z = intermediate(chain, f);
    const auto refuse = [&](const char* why) {
        f.unsupported = why;
        return f;
    };
    if (z.layout.count() == 0 || chain.out.layout.count() == 0 || f.summed.count() == 0)
        return refuse("an axis has no elements");
    const LabelList z_labels = chain.z_is_a ? chain.second.a : chain.second.b,
                    c_labels = chain.z_is_a ? chain.second.b : chain.second.a;
    std::vector<RowAxis> axes = axes_of(chain, z, z_labels, c_labels);
    f.column = axes.back();
    axes.pop_back();
    if (f.column.in_out || f.column.in_a == f.column.in_b)
        return refuse("the rows that are reduced are not what the second product sums");
    int rows = -1;
    for (std::size_t i = 0; i < axes.size(); ++i) {
        if (!axes[i].in_out) return refuse("the second product sums more than the rows' columns");
        if (axes[i].in_a != axes[i].in_b && axes[i].in_a != f.column.in_a && !axes[i].in_c &&
            (rows < 0 || axes[i].extent > axes[static_cast<std::size_t>(rows)].extent))
            rows = static_cast<int>(i);
    }
    if (rows < 0) return refuse("no axis is a row of both products");
    f.row = axes[static_cast<std::size_t>(rows)];
    axes.erase(axes.begin() + rows);
    f.outer = std::move(axes);
    for (const RowAxis& axis : f.outer) f.outers *= axis.extent;
    for (const std::uint8_t label : c_labels) {
        if (find(z_labels, label) >= 0) continue;
        const int in_c = find(c_labels, label), in_out = find(chain.second.out, label);
        f.columns.push_back({chain.c.shape()[in_c], 0, chain.c.layout.strides[in_c], chain.out.layout.strides[in_out]});
    }
    cut(chain, f);
    return f;
}

class Runner {
  public:
    Runner(const RowChain& chain, const Form& form)
        : chain_(chain),
          form_(form),
          sums_(bytes(chain.product)),
          mapped_(form.in_place ? 64 : bytes(form.intermediate)),
          views_(chain.inputs.begin(), chain.inputs.end()) {}

    void run(std::int64_t index) {
        std::int64_t rest = index / form_.blocks;
        const std::int64_t begin = index % form_.blocks * form_.block,
                           rows = std::min(form_.block, form_.row.extent - begin);
        Offsets at;
        at.inputs.resize(views_.size());
        add(at, form_.row, begin);
        for (auto axis = form_.outer.rbegin(); axis != form_.outer.rend(); rest /= axis->extent, ++axis)
            add(at, *axis, rest % axis->extent);
        const View z{sums_.data(), chain_.product, {}};
        dense::contract_blocked(first(rows), moved(chain_.a, at.a), moved(chain_.b, at.b), z, {}, {});
        const View p = between(at, rows);
        const View c = moved(chain_.c, at.c), out = moved(chain_.out, at.out);
        if (chain_.z_is_a)
            dense::contract_blocked(second(rows), p, c, out, {}, {});
        else
            dense::contract_blocked(second(rows), c, p, out, {}, {});
    }

  private:
    struct Offsets {
        std::int64_t a = 0, b = 0, c = 0, out = 0;
        std::vector<std::int64_t> inputs;
    };
    static void add(Offsets& at, const RowAxis& axis, std::int64_t index) {
        at.a += index * axis.a, at.b += index * axis.b, at.c += index * axis.c, at.out += index * axis.out;
        for (std::size_t k = 0; k < at.inputs.size(); ++k) at.inputs[k] += index * axis.inputs[k];
    }
    std::size_t bytes(DType type) const {
        return static_cast<std::size_t>(form_.block * form_.column.extent) * size_of(type);
    }
    static View moved(const View& v, std::int64_t elements) {
        return {static_cast<std::byte*>(v.data) + elements * static_cast<std::int64_t>(size_of(v.dtype)), v.dtype, {}};
    }

    AxisRoles first(std::int64_t rows) const {
        AxisRoles roles;
        roles.summed = form_.summed;
        const std::int64_t n = form_.column.extent;
        (form_.row.in_a ? roles.rows : roles.columns).push_back({rows, form_.row.a, form_.row.b, n});
        (form_.column.in_a ? roles.rows : roles.columns).push_back({n, form_.column.a, form_.column.b, 1});
        return roles;
    }
    AxisRoles second(std::int64_t rows) const {
        AxisRoles roles;
        const auto axis = [&](std::int64_t n, std::int64_t z, std::int64_t c, std::int64_t out) {
            return chain_.z_is_a ? Axis{n, z, c, out} : Axis{n, c, z, out};
        };
        const std::int64_t n = form_.column.extent;
        (chain_.z_is_a ? roles.rows : roles.columns).push_back(axis(rows, n, 0, form_.row.out));
        for (const Axis& column : form_.columns)
            (chain_.z_is_a ? roles.columns : roles.rows).push_back(axis(column.extent, 0, column.b, column.out));
        roles.summed.push_back(axis(n, 1, form_.column.c, 0));
        return roles;
    }

    View between(const Offsets& at, std::int64_t rows) {
        const tape::RowTape& tape = *chain_.rows;
        const std::int64_t n = form_.column.extent;
        const View z{sums_.data(), chain_.product, Layout::contiguous({rows, n})};
        for (std::size_t k = 0; k < views_.size(); ++k) {
            if (k == chain_.z_input) {
                views_[k] = z;
                continue;
            }
            views_[k] = moved(chain_.inputs[k], at.inputs[k]);
            Layout& l = views_[k].layout;
            l.shape = {rows}, l.strides = {form_.row.inputs[k]};
            if (!tape.inputs[k].per_row) l.shape.push_back(n), l.strides.push_back(form_.column.inputs[k]);
        }
        View p = z;
        p.dtype = form_.intermediate;
        if (!form_.in_place) p.data = mapped_.data();
        const FloatEnvironment environment(Subnormals::keep);
        tape::run_rows(tape, views_, {&p, 1});
        return p;
    }

    const RowChain& chain_;
    const Form& form_;
    dense::Scratch sums_, mapped_;
    std::vector<View> views_;
};

}  // namespace

const char* unsupported(const RowChain& chain) { return form_of(chain).unsupported; }

double intermediate_bytes(const RowChain& chain) {
    const Form f = form_of(chain);
    const double elements =
        static_cast<double>(f.outers) * static_cast<double>(f.row.extent) * static_cast<double>(f.column.extent);
    return 2 * elements * static_cast<double>(size_of(chain.product) + size_of(f.intermediate));
}

const char* declines(const RowChain& chain) {
    const Form f = form_of(chain);
    if (f.unsupported) return f.unsupported;
    if (intermediate_bytes(chain) <= chain::cached_bytes()) return "the intermediate stays in cache as it is";
    if (f.block < std::min(kMinRows, f.row.extent))
        return "so few rows of the intermediate fit L2 that packing the other operands again costs more";
    return nullptr;
}

void run(const RowChain& chain) {
    const Form form = form_of(chain);
    if (form.unsupported) throw ValueError(text("row chain: ", form.unsupported));
    parallel_for(form.outers * form.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        Runner runner(chain, form);
        for (std::int64_t i = begin; i < end; ++i) runner.run(i);
    });
}

}  // namespace tenon::product
