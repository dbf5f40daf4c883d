// Graphs with the same structure and other extents: another batch size, say. The first of them is compiled, and the
// next with its groups; after that one plan serves all, if only extents, strides and sizes changed between them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "schedule/executable.h"
#include "schedule/memory.h"
#include "schedule/plan.h"
#include "schedule/regroup.h"

namespace tenon::schedule {

/// The key of a graph's structure: its primitives, dtypes, ranks, edges, checkpoints and held nodes; no extents and no
/// attributes.
std::uint64_t key_of_structure(const Graph& graph);

class Family {
  public:
    explicit Family(std::shared_ptr<const std::vector<Step>> first) : first_(std::move(first)) {}

    /// Whether a graph equals the family's except for extents and attributes.
    bool holds(const Graph& graph) const;

    /// Whether some, but not many, graphs of the family have been compiled: another one is compiled before it comes a
    /// second time. (If no plan serves all, each new one would be compiled for a single use.)
    bool is_young() const { return compilations_ > 0 && compilations_ < kYoung; }

    /// Records what the compiler made of a graph of the family.
    void add(std::shared_ptr<const std::vector<Step>> steps, std::shared_ptr<const Executable> executable);

    /// The groups of the graph that was compiled whole last. Null if there are none.
    const KeptGroups* kept() const { return kept_.get(); }
    void keep(std::shared_ptr<const KeptGroups> groups) {
        bytes_ -= bytes_of_kept();
        kept_ = std::move(groups);
        bytes_ += bytes_of_kept();
    }

    /// The executable of another graph of the family. Numbers that changed between two of its graphs are extrapolated
    /// along a line. Offsets in the arena are planned again. Null if no such line is known, or if the graph is not on
    /// it.
    ///
    /// Every extent, stride and size of a plan is a sum of products of extents, none of them negative. Where no array
    /// has two axes that vary, and no diagonal does (its end lies at extent times stride, which both may vary), no such
    /// product has two factors that do, and two graphs give the line. Otherwise it is a convex function of the one
    /// number that varies, and if it is on a line at three points it is that line. What the compiler compares (extents,
    /// strides, numbers of elements) is then equal, or not, at every point. Only an axis with one element is special,
    /// so varying extents are 2 or more.
    ///
    /// What costs decided (a chain of two products) may be another decision for a much larger graph: one that is far
    /// from those that were asked is planned with their groups first.
    std::unique_ptr<Executable> instance(const std::vector<Step>& steps, const Graph& graph) const;

    bool is_general() const { return general_; }
    std::size_t bytes() const { return bytes_; }

    /// A number of a step that differs between graphs: an extent or, from kMaxRank on, an attribute.
    struct Varying {
        static constexpr int kConstant = -1;  // any number, of a constant
        std::uint32_t step;
        int number;
        std::int64_t from, to;
    };

  private:
    static constexpr int kYoung = 8;
    struct Member {
        std::shared_ptr<const std::vector<Step>> steps;
        std::shared_ptr<const Executable> executable;
    };
    struct Change {
        std::int64_t from, to;
    };
    struct OtherChange {
        std::size_t at;  // index among the numbers outside tasks
        std::int64_t to;
    };

    std::size_t bytes_of_kept() const { return kept_ ? kept_->bytes() : 0; }
    bool find_line();
    /// Whether no graph that was compiled is near in size.
    bool is_far(const std::vector<Step>& steps) const;
    void ask(const std::vector<Step>& steps);
    /// Notes the numbers that differ between the first graph, which has the first ones, and the second.
    void note_changes(const std::vector<std::int64_t>& first, const std::vector<std::int64_t>& second);

    std::shared_ptr<const std::vector<Step>> first_;
    std::vector<Member> all_;  // at most three
    std::shared_ptr<const KeptGroups> kept_;
    // From the first to the second:
    std::vector<Varying> varying_;
    std::shared_ptr<const std::vector<Place>> places_;
    std::vector<Change> changes_;  // at those places
    std::vector<OtherChange> other_changes_;
    std::optional<Arrangements> arrangements_;  // those of the first graph
    std::int64_t least_ = 0, most_ = 0;  // the first extent that varies, in the graphs that were asked
    bool general_ = false;
    int compilations_ = 0, tries_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace tenon::schedule
