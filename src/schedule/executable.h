// What a graph is compiled to: tasks on views whose memory is bound in each run.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/storage.h"
#include "primitive/primitive.h"
#include "schedule/options.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::schedule {

/// Where a view's memory is: in a leaf (by node), in a constant (by its place in the executable's list), in a buffer of
/// the arena (by number), or in a separate storage (by number) that a result keeps.
struct Location {
    enum class In : std::uint8_t { leaf, constant, arena, own };
    In in;
    std::uint32_t index = 0;
    std::int64_t offset = 0;  // bytes, from the beginning of that memory
};

struct Operand {
    Location at;
    View view;  // its pointer is set in each run
};

/// Operands of tasks one after another, in as little memory as they need (operands.h).
struct PackedOperands {
    std::vector<Location> locations;
    std::vector<std::int64_t> views;
};

/// Labels of a contraction's axes.
struct TaskLabels {
    std::vector<std::uint8_t> a, b, out;
};

/// A contraction whose operands come through tapes (product/prologue.h). The task's operands are a and b as stored,
/// then the other inputs of a's tape and of b's, then those of the task's tape, the epilogue.
struct PrologueTask {
    TaskLabels labels;
    tape::Tape a, b;  // without outputs: the operand is read unchanged
    std::size_t a_inputs = 0, b_inputs = 0;
};

/// Two products in one pass (product/chain/chain.h). The task's operands are a, b and c, then the inputs of `between`,
/// then those of the task's tape, the epilogue. Its results are the second product and what is kept of the
/// intermediate: the first product, and what the second one reads. Their layouts have the axes of these labels.
struct ChainTask {
    TaskLabels first, second;
    DType product;
    tape::Tape between;  // without outputs if there is none
    std::size_t between_inputs = 0;
    Layout reading;
    bool z_is_a = true;
    bool keeps_product = false, keeps_intermediate = false;
    /// With outputs, the work in between reduces rows (product/chain/row_chain.h): the operands are a, b, c and the
    /// tape's inputs other than the product, which is its input `row_input`.
    tape::RowTape rows;
    std::size_t row_input = 0;
    bool always = false;
};

/// One product of a task of several. None of them reads another's output, except element by element in its epilogue
/// (product/contract.h). The task's operands are, for each product, a and b and its epilogue's other inputs.
struct GroupedTask {
    std::uint32_t node;
    TaskLabels labels;
    tape::Tape tape;  // without outputs if there is no epilogue
    std::size_t inputs;  // of the epilogue
    bool reads_earlier;
};

struct MatchedChain;
struct PackedIntermediate;
struct Replay;
struct CoreGradientsTask;
struct HiddenTask;

struct Task {
    enum class Kind : std::uint8_t {
        kernel,  // the kernel of a primitive
        tape,
        rows,
        product,  // with `tape` as its epilogue
        chain,  // the same
        grouped,  // products
        core_gradients,  // of a chain, on a device (device_chain.h)
        hidden,  // products before and after a function, on a device (hidden.h)
        hidden_gradients,  // their gradients
        column_sums,  // of the tape's outputs, after `rows` if that has any; on a device (column_sums.h)
    };
    Kind kind;
    std::uint32_t node;  // the primitive, the product, or the last one of a tape: errors name it
    bool is_number = false;  // all it does is to write one number, which the node has, to a buffer of the arena
    std::vector<std::uint32_t> nodes;  // all nodes that are computed here
    std::vector<Operand> in, out;
    std::size_t product_operands = 0;  // of `in`; the others belong to the epilogue, or to column sums
    tape::Tape tape;
    tape::RowTape rows;
    /// For column sums after rows, whose operands are the first `product_operands`: for each input of the tape, its
    /// index in `in` and then `out`, if it is a value of rows.
    std::vector<std::uint32_t> sum_operands;
    /// For a product on a device: which of the tape's inputs, from the second on, are the constant 0.
    std::uint32_t zeros = 0;
    std::shared_ptr<ChainTask> chain;
    std::shared_ptr<PrologueTask> prologues;  // for a product
    std::shared_ptr<const std::vector<GroupedTask>> grouped;
    std::shared_ptr<const MatchedChain> matched;  // on a device (device_chain.h)
    std::shared_ptr<const PackedIntermediate> packed;  // on a device (device_chain.h)
    std::shared_ptr<const CoreGradientsTask> gradients;
    std::shared_ptr<const HiddenTask> hidden;
    std::string_view alone;  // why it was not joined with what it reads
    std::string_view apart;  // for a product: why it forms no chain with the product that it reads
    std::string_view before;  // for a product: why the work that gives an operand is not its prologue
    std::string_view ungrouped;  // for a product: why it does not run with one that reads the same
    Cost cost;
};

/// A node that receives a value.
struct Result {
    std::uint32_t node;
    Location at;
    Layout layout;
};

/// A buffer of the arena, for the verifier and explain. Buffers that are written in place share one.
struct Buffer {
    std::uint32_t node;
    std::int64_t bytes;
    std::int64_t first, last;  // tasks
    std::int64_t offset;
};

/// A leaf whose memory may be reused once task `last` has read it (-1: no task reads it), if nobody refers to it after
/// the run.
struct LeafEnd {
    std::uint32_t leaf;
    std::int64_t last, bytes;
};

/// A separate storage that need not be new: task `task` writes it into one of these leaves, or into the memory of a
/// leaf of as many bytes that has already ended.
struct Receiver {
    std::uint32_t own;
    std::int64_t task;
    std::vector<std::uint32_t> in_place;
};

/// Another placement of the buffers, for a run in which all these leaves die: some buffers are in a leaf's memory.
struct Spare {
    std::int64_t arena_bytes;
    std::vector<std::int64_t> offsets;  // for each buffer
    std::vector<std::uint32_t> leaves;  // for each buffer the leaf that it is in, or ~0: in the arena
};

/// A constant of the graph, or one computed from those before it, row-major.
struct Fold {
    struct Part {
        std::uint32_t fold;
        Layout layout;
        friend bool operator==(const Part&, const Part&) = default;
    };
    std::uint32_t node;
    std::vector<Part> from;
    Shape shape;
    friend bool operator==(const Fold&, const Fold&) = default;
};

/// A number of a task that follows from the extents.
struct Place {
    enum class Of : std::uint8_t { offset, extent, stride };
    static constexpr std::uint16_t kReading = 0xFFFF;  // of a chain, in place of an operand
    std::uint32_t task;
    std::uint16_t operand;  // index in `in`, then in `out`
    Of of;
    std::uint8_t axis;

    std::int64_t& in(std::int64_t& offset, Layout& layout) const {
        return of == Of::offset ? offset : of == Of::extent ? layout.shape[axis] : layout.strides[axis];
    }
};

struct Executable {
    /// For an executable that is planned again: the one that has its tasks, receivers and folds, and the values that
    /// those tasks' numbers have here.
    std::shared_ptr<const Executable> like;
    std::shared_ptr<const std::vector<Place>> places;  // by task and operand
    std::vector<std::int64_t> numbers;  // the values at those places

    std::vector<Task> tasks;
    std::vector<Result> results;
    std::vector<std::int64_t> own;  // bytes of each separate storage
    std::vector<std::shared_ptr<Storage>> constants;
    std::vector<Fold> folds;
    std::vector<std::uint32_t> fold_of;  // for each constant, ~0 if it is none of them
    std::vector<std::uint32_t> pinned;  // constant nodes whose values decided what the tasks are
    std::vector<Buffer> buffers;
    std::vector<LeafEnd> ends;  // by task
    std::vector<Receiver> receivers;  // by task
    std::optional<Spare> spare;
    std::size_t regions = 0;  // tasks that were compiled; the others belong to layers that repeat them
    bool by_memory = false;  // the tasks are ordered by memory, not by recording
    std::int64_t arena_bytes = 0;
    std::int64_t least_bytes = 0;  // no placement needs less
    std::size_t bytes = 0;  // of the executable itself, with its constants
    /// For each task the first equivalent one (alike.h), which holds the plan of the last run in `kept`. Equal layers
    /// are planned once.
    std::vector<std::uint32_t> alike;
    mutable std::vector<tape::CachedPlan> kept;
    mutable PackedOperands operands;  // of all tasks, once one has run
    mutable std::vector<std::string> names;  // of tasks, for the profile, once one has been taken
    mutable std::shared_ptr<Replay> replay;  // on a device (replay.h)

    const Executable& code() const { return like ? *like : *this; }
};

/// The same, with tasks, receivers and folds of its own.
Executable expanded(const Executable& executable);

struct Graph;
class KeptGroups;

/// Groups what `options` allow, in an order in which operands come first. `kept`, if given, receives the groups, for
/// graphs of other extents, unless memory decided them.
std::unique_ptr<Executable> compile(const Graph& graph, const Options& options,
                                    std::shared_ptr<const KeptGroups>* kept = nullptr);

/// The same with groups that were kept. Null where these extents do not allow them.
std::unique_ptr<Executable> compile_again(const Graph& graph, const Options& options, const KeptGroups& kept);

/// What a run reads, by node: the values of leaves, null for other nodes; and whether a leaf's memory may be
/// overwritten because only this run refers to it.
struct Leaves {
    std::vector<const Array*> values;  // in memory of the device
    std::vector<bool> dies;
    Device device{};
};

/// Whether a leaf has no references except `uses` edges of a graph, and its memory has none either, is ours, and holds
/// nothing but its elements.
bool may_be_donated(const Node& leaf, std::uint32_t uses);

/// Computes the results, in their order. Exceptions name the node; `spoiled` then says whether the memory of a leaf has
/// been overwritten.
std::vector<Array> run(const Executable& executable, std::span<Node* const> nodes, const Leaves& leaves, bool poison,
                       bool& spoiled);

/// Computes the graph's held nodes, reusing the memory of leaves that nobody else refers to. Exceptions name the node;
/// no node then has a value, and a leaf that was already overwritten has none any more.
void run(const Executable& executable, const Graph& graph, bool poison, bool& spoiled);

/// Throws std::logic_error if the executable is not sound: every operand is produced before it is read, no two buffers
/// that are alive together overlap, views are within their memory, and shapes and dtypes are those that tasks take.
void verify(const Executable& executable, const Graph& graph);

}  // namespace tenon::schedule
