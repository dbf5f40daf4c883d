#include "product/chain/intermediate.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::product::chain {
namespace {

using LabelList = std::span<const std::uint8_t>;

int find(LabelList labels, std::uint8_t label) {
    const auto it = std::find(labels.begin(), labels.end(), label);
    return it == labels.end() ? -1 : static_cast<int>(it - labels.begin());
}

/// The strides of contiguous z at which an axis of either product begins, ascending, and the number of elements;
/// returns false if they do not nest.
bool common_cuts(const Layout& z, const Layout& reading, std::vector<std::int64_t>& cuts) {
    cuts = {1, z.count()};
    for (const Layout* layout : {&z, &reading})
        for (int i = 0; i < layout->rank(); ++i)
            if (layout->shape[i] != 1) cuts.push_back(layout->strides[i]);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (std::size_t i = 1; i < cuts.size(); ++i)
        if (cuts[i] % cuts[i - 1] != 0) return false;
    return true;
}

/// Whether a layout visits each of `count` contiguous elements once, no axis reversed.
bool is_permutation(const Layout& layout, std::int64_t count) {
    if (layout.offset != 0 || layout.count() != count) return false;
    std::vector<std::pair<std::int64_t, std::int64_t>> axes;  // stride, extent
    for (int i = 0; i < layout.rank(); ++i)
        if (layout.shape[i] != 1) axes.emplace_back(layout.strides[i], layout.shape[i]);
    std::sort(axes.begin(), axes.end());
    std::int64_t next = 1;
    for (const auto& [stride, extent] : axes) {
        if (stride != next) return false;
        next *= extent;
    }
    return true;
}

/// The axis of the layout that holds the part of z at `cut`.
int axis_at(const Layout& layout, std::int64_t cut) {
    for (int i = 0; i < layout.rank(); ++i)
        if (layout.shape[i] != 1 && layout.strides[i] <= cut && cut < layout.strides[i] * layout.shape[i]) return i;
    return -1;
}

/// Follows a label's axis in a view, `times` of its elements apart; returns false if the view has no such label.
bool follow(const View& v, LabelList labels, std::uint8_t label, std::int64_t times, std::int64_t& stride) {
    const int i = find(labels, label);
    if (i < 0) return false;
    stride = v.layout.strides[i] * times;
    return true;
}

void follow_inputs(const Epilogue* epilogue, int axis, std::int64_t times,
                   std::array<std::int64_t, kMaxEpilogueInputs>& strides) {
    if (!epilogue || axis < 0) return;
    for (std::size_t i = 0; i < epilogue->inputs.size(); ++i)
        strides[i] = epilogue->inputs[i].layout.strides[axis] * times;
}

bool continues(const IntermediateAxis& outer, const IntermediateAxis& inner) {
    const std::int64_t n = inner.extent;
    if (outer.in_a != inner.in_a || outer.in_b != inner.in_b || outer.in_c != inner.in_c ||
        outer.in_out != inner.in_out)
        return false;
    if (outer.summed() && outer.order + 1 != inner.order) return false;
    for (std::size_t i = 0; i < kMaxEpilogueInputs; ++i)
        if (outer.inputs[i] != inner.inputs[i] * n || outer.after[i] != inner.after[i] * n) return false;
    for (std::size_t i = 0; i < outer.kept.size(); ++i)
        if (outer.kept[i] != inner.kept[i] * n) return false;
    return outer.a == inner.a * n && outer.b == inner.b * n && outer.c == inner.c * n && outer.out == inner.out * n;
}

/// Makes the places among the summed axes dense, in their order.
void number_summed(std::vector<IntermediateAxis>& axes) {
    std::vector<IntermediateAxis*> summed;
    for (IntermediateAxis& axis : axes)
        if (axis.summed()) summed.push_back(&axis);
    std::sort(summed.begin(), summed.end(), [](const auto* x, const auto* y) { return x->order < y->order; });
    for (std::size_t i = 0; i < summed.size(); ++i) summed[i]->order = static_cast<int>(i);
}

void merge(Intermediate& m) {
    std::vector<IntermediateAxis> merged;
    for (const IntermediateAxis& axis : m.axes) {
        if (merged.empty() || !continues(merged.back(), axis)) {
            merged.push_back(axis);
            continue;
        }
        const std::int64_t outer = merged.back().extent;
        merged.back() = axis;
        merged.back().extent *= outer;
    }
    number_summed(merged);
    m.axes = std::move(merged);
}

void check_tape(const Epilogue& epilogue, const Shape& shape, const char* which) {
    if (epilogue.tape.inputs.size() != epilogue.inputs.size() + 1 || epilogue.tape.outputs.size() != 1)
        throw ValueError(text("chain: ", which, " takes a product and its inputs, and gives one output; it has ",
                              epilogue.inputs.size(), " inputs"));
    for (const View& input : epilogue.inputs)
        if (!(input.shape() == shape))
            throw ShapeError(text("chain: the inputs of ", which, " have the product's shape ", to_string(shape),
                                  ", not ", to_string(input.shape())));
}

void check_kept(const View& kept, const Shape& shape, DType dtype) {
    if (!(kept.shape() == shape) || kept.dtype != dtype)
        throw ShapeError(text("chain: what is kept is the intermediate, ", to_string(shape), " ", name(dtype), ", not ",
                              to_string(kept.shape()), " ", name(kept.dtype)));
}

}  // namespace

void KeptPart::copy(const View& to, std::int64_t first, const void* block) const {
    View from{const_cast<void*>(block), to.dtype, {}},
        part{static_cast<std::byte*>(to.data) + first * static_cast<std::int64_t>(size_of(to.dtype)), to.dtype, {}};
    for (std::size_t i = 0; i < extents.size(); ++i) {
        from.layout.shape.push_back(extents[i]), from.layout.strides.push_back(steps[i]);
        part.layout.shape.push_back(extents[i]), part.layout.strides.push_back(strides[i]);
    }
    tape::run(tape::Tape{{to.dtype}, {}, {0}}, {&from, 1}, {&part, 1});
}

DType intermediate_dtype(const Chain& chain) {
    if (!chain.between) return chain.product;
    const tape::Tape& tape = chain.between->tape;
    if (tape.outputs.size() != 1) throw ValueError("chain: the tape between the products gives one output");
    return tape::type_of(tape, tape.outputs[0]);
}

View product_view(const Chain& chain) {
    View z{nullptr, chain.product, {}};
    Shape shape;
    for (const std::uint8_t label : chain.first.out) {
        const int in_a = find(chain.first.a, label), in_b = find(chain.first.b, label);
        if (in_a < 0 && in_b < 0)
            throw ShapeError(text("chain: label ", int{label}, " of the intermediate stands in no operand"));
        const bool a = in_a >= 0 && in_a < chain.a.layout.rank();
        if (!a && in_b >= chain.b.layout.rank()) throw ShapeError("chain: an operand has one label for each axis");
        shape.push_back(a ? chain.a.shape()[in_a] : chain.b.shape()[in_b]);
    }
    z.layout = Layout::contiguous(shape);
    return z;
}

View reading_view(const Chain& chain) {
    View z = product_view(chain);
    z.dtype = intermediate_dtype(chain);
    if (chain.reading.rank() != 0 || z.layout.rank() == 0) {
        if (chain.reading.count() != z.layout.count())
            throw ShapeError(
                text("chain: the second product reads ", to_string(chain.reading.shape), " of ", to_string(z.shape())));
        z.layout = chain.reading;
    }
    return z;
}

std::int64_t Intermediate::summed_count() const {
    std::int64_t n = 1;
    for (const IntermediateAxis& axis : axes) n *= axis.summed() ? axis.extent : 1;
    return n;
}

std::int64_t Intermediate::column_count() const {
    std::int64_t n = 1;
    for (const ColumnAxis& axis : columns) n *= axis.extent;
    return n;
}

namespace {

/// Throws unless operands, tapes and what is kept fit; the axes of the first product by role.
AxisRoles checked_roles(const Chain& chain, const View& z, const View& reading) {
    const AxisRoles roles = assign_roles(chain.a, chain.b, z, chain.first);
    View product = chain.out;
    if (chain.epilogue) product.dtype = chain.epilogue->tape.inputs.at(0);
    if (chain.z_is_a)
        assign_roles(reading, chain.c, product, chain.second);
    else
        assign_roles(chain.c, reading, product, chain.second);
    if (chain.between) check_tape(*chain.between, z.shape(), "the tape between");
    if (chain.epilogue) check_tape(*chain.epilogue, chain.out.shape(), "the epilogue");
    if (chain.kept_product) check_kept(*chain.kept_product, z.shape(), z.dtype);
    if (chain.kept_intermediate) check_kept(*chain.kept_intermediate, z.shape(), reading.dtype);
    return roles;
}

std::vector<ColumnAxis> columns_of(const Chain& chain, LabelList z_labels, LabelList c_labels) {
    std::vector<ColumnAxis> columns;
    for (const std::uint8_t label : c_labels) {
        if (find(z_labels, label) >= 0) continue;
        ColumnAxis column;
        column.extent = chain.c.shape()[find(c_labels, label)];
        if (column.extent == 1) continue;
        follow(chain.c, c_labels, label, 1, column.c);
        follow(chain.out, chain.second.out, label, 1, column.out);
        follow_inputs(chain.epilogue, find(chain.second.out, label), 1, column.after);
        columns.push_back(column);
    }
    return columns;
}

}  // namespace

Intermediate analyse(const Chain& chain) {
    const View z = product_view(chain), reading = reading_view(chain);
    const Labels &first = chain.first, &second = chain.second;
    const LabelList z_labels = chain.z_is_a ? second.a : second.b, c_labels = chain.z_is_a ? second.b : second.a;
    Intermediate m;
    m.summed = checked_roles(chain, z, reading).summed;
    m.elements = z.layout.count();
    m.columns = columns_of(chain, z_labels, c_labels);
    if (m.elements == 0 || chain.out.layout.count() == 0 || m.summed.count() == 0) {
        m.declines = "an axis has no elements";
        return m;
    }
    std::vector<std::int64_t> cuts;
    if (!is_permutation(reading.layout, m.elements) || !common_cuts(z.layout, reading.layout, cuts)) {
        m.declines = "the second product does not read each element of the intermediate once, axis by axis";
        return m;
    }
    for (std::size_t i = cuts.size() - 1; i-- > 0;) {
        IntermediateAxis axis;
        axis.extent = cuts[i + 1] / cuts[i];
        axis.z = cuts[i];
        const int before = axis_at(z.layout, axis.z), after = axis_at(reading.layout, axis.z);
        const std::int64_t times_before = axis.z / z.layout.strides[before],
                           times_after = axis.z / reading.layout.strides[after];
        const std::uint8_t label = first.out[static_cast<std::size_t>(before)],
                           read_label = z_labels[static_cast<std::size_t>(after)];
        axis.in_a = follow(chain.a, first.a, label, times_before, axis.a);
        axis.in_b = follow(chain.b, first.b, label, times_before, axis.b);
        axis.in_c = follow(chain.c, c_labels, read_label, times_after, axis.c);
        axis.in_out = follow(chain.out, second.out, read_label, times_after, axis.out);
        follow_inputs(chain.between, before, times_before, axis.inputs);
        for (const Kept which : {Kept::product, Kept::intermediate})
            if (const View* kept = kept_view(chain, which))
                axis.kept[static_cast<std::size_t>(which)] = kept->layout.strides[before] * times_before;
        follow_inputs(chain.epilogue, find(second.out, read_label), times_after, axis.after);
        // Slowest first: by the label's position in the second product's a, then by stride. Gaps between positions are
        // removed later.
        if (axis.summed()) axis.order = 64 * find(second.a, read_label) + static_cast<int>(cuts.size() - i);
        m.axes.push_back(axis);
    }
    number_summed(m.axes);
    merge(m);
    return m;
}

}  // namespace tenon::product::chain
