// Hashes of results, printed by the same program on this machine and on an emulated one, which must agree. A unit joins
// with a file UNIT_hashes.cpp, a line in main (hashes.cpp), and its name in the lists of sources (CMakeLists.txt here).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/view.h"
#include "product/testing.h"

namespace tenon::hashes {

/// Elements of any dtype whose bits are spread over all that the type has; different `which`, different elements.
std::vector<std::byte> spread(DType type, std::int64_t n, std::uint64_t which);

/// Those of an array, row-major.
std::vector<std::byte> elements(product::testing::Array& x, DType type);

/// Prints "name hash". All NaNs count as one: their payloads are nobody's result.
void report(const std::string& name, DType type, std::vector<std::byte> elements);

void tape_hashes();
void product_hashes();
void chain_hashes();
void attention_hashes();

}  // namespace tenon::hashes
