// What the compiler of graphs may do. Everything can be switched off, so that a fault can be bisected: results have the
// same bits either way.
#pragma once

#include <cstdint>

#include "tenon/export.h"

namespace tenon::schedule {

struct Options {
    bool compile = true;  // else every graph runs node by node
    bool simplify = true;  // common subexpressions, constants, elements that repeat
    bool pointwise = true;  // pointwise regions
    bool rows = true;  // reductions of rows and what uses them
    bool epilogue = true;  // pointwise work after a product
    bool chain = true;  // two products with views and pointwise work between them
    bool prologue = true;  // pointwise work before a product
    bool grouped = false;  // products that share an operand: measured, on two threads, to gain nothing for certain
    bool recompute = false;  // on a device: gradients of cores compute a chain's intermediate again (device_chain.h)
    bool column_sums = false;  // on a device: of what is computed again for them (column_sums.h)
    bool repeats = true;  // layers that are alike are compiled once
    bool in_place = true;  // a result takes the memory of an operand that dies
    bool reuse = true;  // buffers share the arena by their lifetimes
    std::int64_t guarded_bytes = std::int64_t{1} << 20;  // above it no fusion may raise the peak of intermediates
    bool ignore_cost = false;  // chains and prologues even where they do not pay (for tests)
    bool graphs = true;  // what comes back on a GPU with the same memory is launched as a CUDA graph
    std::size_t branches = 3;  // of such a graph, whose tasks run beside each other
    bool poison = false;  // the arena is filled with NaN before each run
#if defined(NDEBUG)
    bool verify = false;  // what each pass made is checked
#else
    bool verify = true;
#endif
};

/// Those in force on this thread: of the innermost WithOptions, or of the environment: TENON_FUSE is `off` (node by
/// node), `none`, `all`, or the fusions to be made, from pointwise, rows, epilogue, chain, prologue and grouped, with
/// commas between them; TENON_CUDA_GRAPHS is `off` or `on`. Throws ValueError for anything else.
const Options& options();

/// Sets the options of this thread while it lives.
class TENON_API WithOptions {
  public:
    explicit WithOptions(const Options& o);
    ~WithOptions();
    WithOptions(const WithOptions&) = delete;
    WithOptions& operator=(const WithOptions&) = delete;

  private:
    Options now_;
    const Options* before_;
};

/// One bit an option: graphs are remembered apart where they differ.
std::uint64_t word(const Options& o);

}  // namespace tenon::schedule
