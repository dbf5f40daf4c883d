// The suites: which products are timed.
#pragma once

#include <string>
#include <vector>

#include "bench/problem.h"

namespace bench {

/// The names of all suites, in order.
std::vector<std::string> suite_names();

/// A selection from a suite; an empty field stands for the suite's own.
struct Selection {
    std::vector<Shape> shapes;
    std::vector<Type> types;
    std::vector<Weights> weights;
    /// Of BLAS and LAPACK, linear and structured layers and attention: which of them, by name. Other suites have no
    /// names.
    std::vector<std::string> routines;
};

/// Throws tenon::ValueError for an unknown suite, and for a selection that leaves nothing.
std::vector<Problem> problems_of(const std::string& suite, const Selection& selection);

}  // namespace bench
