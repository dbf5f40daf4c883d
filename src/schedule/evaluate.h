// The evaluator: computes what a tensor needs when it is read. A new graph runs node by node, each with its primitive's
// kernel; a graph that recurs is compiled.
#pragma once

#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#include "base/text.h"
#include "primitive/primitive.h"
#include "product/float_environment.h"
#include "schedule/executable.h"
#include "schedule/options.h"
#include "schedule/plan.h"
#include "tenon/error.h"

namespace tenon::schedule {

/// What the plan cache holds, and how often it was hit.
struct Statistics {
    std::int64_t hits, misses;
    std::size_t plans, bytes;
    std::int64_t compiled, compiled_runs;  // executables made, and evaluations by an executable
    std::int64_t chains;  // tasks of two products in the executables
    std::int64_t repeated;  // tasks of layers that repeat others
    std::int64_t planned_again;  // executables for other extents, from a plan that serves all or from another's groups
    std::int64_t faults;  // graphs that run node by node because of a fault of the compiler
    std::int64_t graphs, graph_launches;  // CUDA graphs recorded, and evaluations by one
};
Statistics statistics();

/// Nothing else is evaluated while it lives; collect and remembered require it. With it comes the floating-point
/// environment of all results: rounding to nearest, subnormals kept, no traps. At its end the caller's is back.
class EvaluatorLock {
  public:
    EvaluatorLock();

  private:
    std::unique_lock<std::mutex> lock_;
    product::FloatEnvironment environment_{product::Subnormals::keep};
};
inline EvaluatorLock lock_evaluator() { return {}; }

/// The plan of the last new graph, null if it is not kept, and all other plans.
struct Remembered {
    const Plan* newest;
    std::vector<const Plan*> others;
};
Remembered remembered();

/// What a plan's graph is compiled to; null if that fails, because node by node works too. (If the options ask for
/// verification, a fault of the compiler is thrown.) Under the evaluator's lock, as the following ones.
std::shared_ptr<const Executable> executable_of(Plan& plan, const Graph& graph, const Options& options);
/// The same for a graph that has not necessarily come before.
std::shared_ptr<const Executable> executable_of(const Graph& graph, const Options& options);

/// Runs an executable as an evaluation.
std::vector<Array> run_compiled(const Executable& executable, std::span<Node* const> nodes, const Leaves& leaves,
                                bool& spoiled);

/// Computes one node whose operands have values (for tests and the reference sweep); `reference` asks for the law.
Array compute(const Node& node, bool reference = false);

/// Calls body(); exceptions from it name the node and where it was recorded.
template <class F>
void with_site(const Node& n, F&& body) {
    const auto described = [&](const char* what) {
        return text(what, " [", n.primitive->name, " -> ", to_string(n.shape), " ", name(n.dtype), ", recorded at ",
                    site_of(n), "]");
    };
    try {
        body();
    } catch (const MemoryError& e) {
        throw MemoryError(described(e.what()));
    } catch (const ValueError& e) {
        throw ValueError(described(e.what()));
    } catch (const std::bad_alloc&) {
        throw MemoryError(described("no memory to compute with"));
    } catch (const std::length_error&) {  // of a vector's size
        throw MemoryError(described("no memory to compute with"));
    }
}

}  // namespace tenon::schedule
