// The suite `three-way`: products and structured layers by a CPU's BLAS, by naive kernels of a GPU, and by Tenon's
// graphs there.
#pragma once

#include <string>
#include <vector>

#include "bench/peer.h"
#include "bench/report.h"
#include "bench/run.h"
#include "bench/suites.h"

namespace bench {

inline constexpr const char* kThreeWaySuite = "three-way";

/// Each shape as a product in float32, and, if its numbers of inputs and outputs are squares, also as block tensor
/// trains of ranks 1 and 2 in float32 and bfloat16. Throws ValueError.
std::vector<Problem> three_way_problems(const Selection& selection);

/// The way of the CPU, by the first library given, or by Tenon if none is, then the two of cuda:0. Throws ValueError
/// with the reason if there is no GPU.
std::vector<Peer> three_ways(const std::vector<Peer>& libraries);

std::string three_way_header(const std::vector<Peer>& ways);
/// One line of one problem's rows.
std::string three_way_line(const std::vector<Row>& rows);
std::string three_way_html(const Results& results);

}  // namespace bench
