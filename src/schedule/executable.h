// What a graph is compiled to: tasks on views whose memory is bound at each run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/storage.h"
#include "primitive/primitive.h"
#include "schedule/options.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::schedule {

/// Where a view's memory is: of a leaf (by node), of a constant (by its place in the executable's list), in the arena,
/// or in a storage of its own (by number), which a result keeps.
struct Location {
    enum class In : std::uint8_t { leaf, constant, arena, own };
    In in;
    std::uint32_t index = 0;
    std::int64_t offset = 0;  // bytes
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
/// then those of the task's tape, the epilogue. Their layouts have the axes of these labels.
struct ChainTask {
    TaskLabels first, second;
    DType product;
    tape::Tape between;  // without outputs: there is none
    std::size_t between_inputs = 0;
    Layout reading;
    bool z_is_a = true;
    bool always = false;
};

struct Task {
    enum class Kind : std::uint8_t {
        kernel,  // a primitive's own
        tape,
        rows,
        product,  // with `tape` as its epilogue
        chain,  // the same
    };
    Kind kind;
    std::uint32_t node;  // the primitive's, the product's, of a tape the last: what errors name
    std::vector<std::uint32_t> nodes;  // all that are computed here
    std::vector<Operand> in, out;
    std::size_t product_operands = 0;  // of `in`; the others are the epilogue's
    tape::Tape tape;
    tape::RowTape rows;
    mutable tape::Kept kept;  // of a tape's or rows' last run
    std::shared_ptr<ChainTask> chain;
    std::shared_ptr<PrologueTask> prologues;  // of a product
    std::string alone;  // why it was not joined with what it reads
    std::string apart;  // of a product, why it makes no chain with the one that it reads
    std::string before;  // of a product, why the work that gives an operand is not its prologue
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

struct Executable {
    std::vector<Task> tasks;
    std::vector<Result> results;
    std::vector<std::int64_t> own;  // bytes of each storage
    std::vector<std::shared_ptr<Storage>> constants;
    std::vector<Buffer> buffers;
    std::int64_t arena_bytes = 0;
    std::int64_t least_bytes = 0;  // no placement needs less
    std::size_t bytes = 0;  // of the executable itself, with its constants
};

struct Graph;

/// Groups what `options` allow, in an order in which operands come first.
std::unique_ptr<Executable> compile(const Graph& graph, const Options& options);

/// Computes the graph's held nodes. What fails is thrown with the node named; nothing has a value then.
void run(Executable& executable, const Graph& graph, bool poison);

/// Throws std::logic_error where the executable is not sound: every operand is produced before it is read, no two
/// buffers alive together overlap, views lie within their memory, and shapes and dtypes are what tasks take.
void verify(const Executable& executable, const Graph& graph);

}  // namespace tenon::schedule
