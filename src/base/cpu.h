// The instruction sets for which kernels are compiled, and the one that this process uses. It is chosen by feature
// bits, never by vendor. TENON_ISA=baseline|avx2|avx512|neon forces one for tests (a set that the CPU lacks is refused
// with ValueError).
#pragma once

#include <string_view>

namespace tenon {

enum class Isa { baseline, avx2, avx512, neon };

std::string_view name(Isa isa);
bool supported(Isa isa);
/// The set in use: the environment's, otherwise the best that is supported.
Isa isa();
/// Overrides the choice (tests run every set in one process). Throws ValueError if it is not supported.
void force_isa(Isa isa);

}  // namespace tenon
