// What a graph is compiled to: tasks on views whose memory is bound at each run.
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

/// Where a view's memory is: of a leaf (by node), of a constant (by its place in the executable's list), in a buffer of
/// the arena (by number), or in a storage of its own (by number), which a result keeps.
struct Location {
    enum class In : std::uint8_t { leaf, constant, arena, own };
    In in;
    std::uint32_t index = 0;
    std::int64_t offset = 0;  // bytes, from the beginning of that memory
};

struct Operand {
    Location at;
    View view;  // its pointer is set at each run
};

/// Labels of a contraction's axes.
struct TaskLabels {
    std::vector<std::uint8_t> a, b, out;
};

/// A contraction whose operands come through tapes (product/prologue.h). The task's operands are a and b as they are
/// stored, then the other inputs of a's tape and of b's, and those of the task's tape, the epilogue.
struct PrologueTask {
    TaskLabels labels;
    tape::Tape a, b;  // without outputs: the operand is read as it is
    std::size_t a_inputs = 0, b_inputs = 0;
};

/// Two products in one pass (product/chain/chain.h). The task's operands are a, b and c, then the inputs of `between`,
/// then those of the task's tape, the epilogue. Its results are the second product and what is kept of the
/// intermediate: the first product, and what the second one reads. Their layouts have the axes of these labels.
struct ChainTask {
    TaskLabels first, second;
    DType product;
    tape::Tape between;  // without outputs: there is none
    std::size_t between_inputs = 0;
    Layout reading;
    bool z_is_a = true;
    bool keeps_product = false, keeps_middle = false;
    /// With outputs, the work between reduces rows (product/chain/row_chain.h): the operands are a, b, c and the tape's
    /// other inputs than the product, which is its input `row_input`.
    tape::RowTape rows;
    std::size_t row_input = 0;
    bool always = false;
};

/// One product of a task of several, none of which reads what another gives, unless element by element in its epilogue
/// (product/contract.h). The task's operands are each one's a and b and its epilogue's other inputs.
struct GroupedTask {
    std::uint32_t node;
    TaskLabels labels;
    tape::Tape tape;  // without outputs: there is no epilogue
    std::size_t inputs;  // of the epilogue
    bool reads_earlier;
};

struct MatchedChain;
struct PackedMiddle;
struct Replay;
struct CoreGradientsTask;
struct HiddenTask;

struct Task {
    enum class Kind : std::uint8_t {
        kernel,  // a primitive's own
        tape,
        rows,
        product,  // with `tape` as its epilogue
        chain,  // the same
        grouped,  // products
        core_gradients,  // of a chain, on a device (device_chain.h)
        hidden,  // products on either side of a function, on a device (hidden.h)
        hidden_gradients,  // theirs
        column_sums,  // of the tape's outputs, after `rows` where that has any; on a device (column_sums.h)
    };
    Kind kind;
    std::uint32_t node;  // the primitive's, the product's, of a tape the last: what errors name
    std::vector<std::uint32_t> nodes;  // all that are computed here
    std::vector<Operand> in, out;
    std::size_t product_operands = 0;  // of `in`; the others are the epilogue's, or the sums' of columns
    tape::Tape tape;
    tape::RowTape rows;
    /// Of sums of columns after rows, whose operands are the first `product_operands`: of each input of the tape its
    /// place in `in` and then `out`, where values of rows are.
    std::vector<std::uint32_t> sum_operands;
    /// Of a product on a device, by the tape's inputs from the second on: those that are the constant 0.
    std::uint32_t zeros = 0;
    std::shared_ptr<ChainTask> chain;
    std::shared_ptr<PrologueTask> prologues;  // of a product
    std::shared_ptr<const std::vector<GroupedTask>> grouped;
    std::shared_ptr<const MatchedChain> matched;  // on a device (device_chain.h)
    std::shared_ptr<const PackedMiddle> packed;  // the same
    std::shared_ptr<const CoreGradientsTask> gradients;
    std::shared_ptr<const HiddenTask> hidden;
    std::string_view alone;  // why it was not joined with what it reads
    std::string_view apart;  // of a product, why it makes no chain with the one that it reads
    std::string_view before;  // of a product, why the work that gives an operand is not its prologue
    std::string_view ungrouped;  // of a product, why it does not run with one that reads the same
    Cost cost;
};

/// A node that gets a value.
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

/// A leaf whose memory may serve for something else, once task `last` has read it (-1: none does), where nobody refers
/// to it after the run.
struct LeafEnd {
    std::uint32_t leaf;
    std::int64_t last, bytes;
};

/// A storage of its own that need not be new: task `task` writes it, in place of one of these leaves, or in the memory
/// of one of as many bytes that has ended before.
struct Receiver {
    std::uint32_t own;
    std::int64_t task;
    std::vector<std::uint32_t> in_place;
};

/// Another placement of the buffers, for a run in which all these leaves die: some lie in a leaf's memory.
struct Spare {
    std::int64_t arena_bytes;
    std::vector<std::int64_t> offsets;  // of each buffer
    std::vector<std::uint32_t> leaves;  // of each buffer the leaf that it lies in, or ~0: in the arena
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
    std::uint16_t operand;  // of `in`, then of `out`
    Of of;
    std::uint8_t axis;

    std::int64_t& in(std::int64_t& offset, Layout& layout) const {
        return of == Of::offset ? offset : of == Of::extent ? layout.shape[axis] : layout.strides[axis];
    }
};

struct Executable {
    /// Of one that is planned again: the executable whose tasks, receivers and folds it has, and of the numbers of
    /// those tasks what they are here.
    std::shared_ptr<const Executable> like;
    std::shared_ptr<const std::vector<Place>> places;  // by task and operand
    std::vector<std::int64_t> numbers;  // at those places

    std::vector<Task> tasks;
    std::vector<Result> results;
    std::vector<std::int64_t> own;  // bytes of each storage
    std::vector<std::shared_ptr<Storage>> constants;
    std::vector<Fold> folds;
    std::vector<std::uint32_t> fold_of;  // of each constant, ~0 where it is none of them
    std::vector<std::uint32_t> pinned;  // constant nodes whose values decided what the tasks are
    std::vector<Buffer> buffers;
    std::vector<LeafEnd> ends;  // by task
    std::vector<Receiver> receivers;  // by task
    std::optional<Spare> spare;
    std::size_t regions = 0;  // tasks that were compiled; the others are those of layers that repeat them
    bool by_memory = false;  // the order of the tasks, else that of recording
    std::int64_t arena_bytes = 0;
    std::int64_t least_bytes = 0;  // no placement needs less
    std::size_t bytes = 0;  // of the executable itself, with its constants
    /// By task: the first that is alike, which has the plan of the last run in `kept`. Equal layers are planned once.
    std::vector<std::uint32_t> alike;
    mutable std::vector<tape::Kept> kept;
    mutable std::shared_ptr<Replay> replay;  // on a device (replay.h)

    const Executable& code() const { return like ? *like : *this; }
};

/// The same with tasks, receivers and folds of its own.
Executable expanded(const Executable& executable);

struct Graph;

/// Groups what `options` allow, in an order in which operands come first.
std::unique_ptr<Executable> compile(const Graph& graph, const Options& options);

/// What a run reads, by node: the values of leaves, null for others, and whether a leaf's memory may be overwritten
/// since nobody refers to it but this run.
struct Leaves {
    std::vector<const Array*> values;  // in memory of the device
    std::vector<bool> dies;
    Device device{};
};

/// Whether nothing but `uses` edges of a graph refers to a leaf, nor anything else to its memory, which is ours and all
/// its elements.
bool may_be_donated(const Node& leaf, std::uint32_t uses);

/// Computes the results, in their order. What fails is thrown with the node named; `spoiled` says then whether the
/// memory of a leaf has been overwritten.
std::vector<Array> run(const Executable& executable, std::span<Node* const> nodes, const Leaves& leaves, bool poison,
                       bool& spoiled);

/// Computes the graph's held nodes, with the memory of leaves that nobody else refers to. What fails is thrown with the
/// node named; nothing has a value then, and where such a leaf was overwritten already, it has none any more.
void run(const Executable& executable, const Graph& graph, bool poison, bool& spoiled);

/// Throws std::logic_error where the executable is not sound: every operand is produced before it is read, no two
/// buffers alive together overlap, views lie within their memory, and shapes and dtypes are what tasks take.
void verify(const Executable& executable, const Graph& graph);

}  // namespace tenon::schedule
