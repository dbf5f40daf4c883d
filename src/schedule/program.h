// A graph on its way to an executable: what is computed, and where each node's elements are.
#pragma once

#include <memory>
#include <vector>

#include "base/storage.h"
#include "schedule/options.h"
#include "schedule/plan.h"

namespace tenon::schedule {

using Index = std::uint32_t;

/// The elements of a base (a leaf, or a node that is computed) through a layout whose offset counts elements.
struct Source {
    Index base;
    Layout layout;
    friend bool operator==(const Source&, const Source&) = default;
};

/// `copy` is a reshape that strides cannot express; `opaque` runs by its primitive's own kernel.
enum class Kind : std::uint8_t { none, leaf, constant, pointwise, copy, reduction, product, opaque };

struct Base {
    Kind kind = Kind::none;
    bool escapes = false;  // a node that must get a value has these elements
    bool needed = false;
    /// Computed elements are row-major in this shape. It is smaller than the node's shape if pointwise work would
    /// repeat.
    Shape shape;
    /// Layouts of pointwise bases and copies have the base's shape.
    std::vector<Source> operands;
};

struct Program {
    const Graph* graph;
    std::vector<Source> source;  // for each node
    std::vector<Base> bases;  // by node; kind `none` if a node is a view or a duplicate
    std::vector<std::shared_ptr<Storage>> constants;  // by base
    std::vector<std::vector<Source>> folded;  // by base: the constants that a constant was computed from
    std::vector<bool> pinned;  // by base: something was left out because the constant has this value

    std::vector<bool> apart;  // by base: it runs alone, because fusing it would raise the peak of memory

    const Node& node(Index i) const { return *graph->nodes[i]; }
    DType dtype(Index i) const { return graph->nodes[i]->dtype; }
};

inline bool is_elementwise(Kind k) { return k == Kind::pointwise || k == Kind::copy; }
inline bool is_computed(Kind k) { return k != Kind::none && k != Kind::leaf && k != Kind::constant; }

/// Whether the elements are all of the base's, row-major: the base's buffer in some shape.
bool is_whole(const Program& p, const Source& s);

/// Views become layouts, duplicates and constants are removed, pointwise work on repeated elements is done once, and
/// what no result needs is not `needed`.
Program simplify(const Graph& graph, const Options& options);

/// Throws std::logic_error if operands do not come first, or a layout exceeds what it reads.
void verify(const Program& program);

}  // namespace tenon::schedule
