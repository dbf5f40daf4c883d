// Bfloat16 as float32 where its own dot product is slow (units.h).
#pragma once

namespace tenon::product::dense {

/// Tests: products widen bfloat16 as on such a CPU, whatever this one's is.
void assume_slow_dot(bool slow);

}  // namespace tenon::product::dense
