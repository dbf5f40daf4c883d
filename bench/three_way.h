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

/// Each shape as a product, and where its inputs and outputs are squares of whole numbers also as a block tensor train
/// of rank 1 and 2; float32 and bfloat16, products in float32 alone. Throws ValueError.
std::vector<Problem> three_way_problems(const Selection& selection);

/// The CPU's way, of the first library given, or of Tenon where there is none; then the two of cuda:0. Throws
/// ValueError where there is no GPU, with the reason.
std::vector<Peer> three_ways(const std::vector<Peer>& libraries);

std::string three_way_header(const std::vector<Peer>& ways);
/// One line of one problem's rows.
std::string three_way_line(const std::vector<Row>& rows);
std::string three_way_html(const Results& results);

}  // namespace bench
