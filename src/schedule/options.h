// What the graph compiler may do. Everything can be switched off, so that a fault can be found by bisection: results
// have the same bits either way.
#pragma once

#include <cstdint>

#include "tenon/export.h"

namespace tenon::schedule {

struct Options {
    bool compile = true;  // otherwise every graph runs node by node
    bool simplify = true;  // common subexpressions, constants, repeated elements
    bool pointwise = true;  // pointwise regions
    bool rows = true;  // reductions of rows and what uses them
    bool epilogue = true;  // pointwise work after a product
    bool chain = true;  // two products with views and pointwise work between them
    bool prologue = true;  // pointwise work before a product
    bool grouped = false;  // products that share an operand: on two threads, measured to be no faster for certain
    bool recompute = false;  // on a device: gradients of cores compute a chain's intermediate again (device_chain.h)
    bool column_sums = false;  // on a device: sums of columns of what is computed again for them (column_sums.h)
    bool repeats = true;  // layers that are equal are compiled once
    bool in_place = true;  // a result takes the memory of an operand that dies
    bool reuse = true;  // buffers share the arena by their lifetimes
    std::int64_t guarded_bytes = std::int64_t{1} << 20;  // above this, no fusion may raise the peak of intermediates
    bool ignore_cost = false;  // chains and prologues even if they do not pay (for tests)
    bool faulty = false;  // the compiler fails as if it had a fault (for tests)
    bool graphs = true;  // work that recurs on a GPU with the same memory is launched as a CUDA graph
    std::size_t branches = 3;  // of such a graph; their tasks may run at the same time
    bool poison = false;  // the arena is filled with NaN before each run
#if defined(NDEBUG)
    bool verify = false;  // what each pass made is checked
#else
    bool verify = true;
#endif
};

/// The options in use on this thread: those of the innermost WithOptions, or of the environment. TENON_FUSE is `off`
/// (node by node), `none`, `all`, or a list of fusions, from pointwise, rows, epilogue, chain, prologue and grouped,
/// separated by commas; TENON_CUDA_GRAPHS is `off` or `on`. Throws ValueError for anything else.
const Options& options();

/// Sets the options of this thread during its lifetime.
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

/// One bit for each option: graphs are remembered separately for different options.
std::uint64_t word(const Options& o);

}  // namespace tenon::schedule
