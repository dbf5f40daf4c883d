// The instruction sets kernels are compiled for, and which one this process runs. Chosen by feature bits, never by
// vendor; TENON_ISA=baseline|avx2|avx512|neon forces one for tests (a set the CPU lacks is refused with ValueError).
#pragma once

#include <string_view>

namespace tenon {

enum class Isa { baseline, avx2, avx512, neon };

std::string_view name(Isa isa);
bool supported(Isa isa);
/// The set in force: the environment's, else the best supported.
Isa isa();
/// Overrides the choice (tests run every set in one process). Throws ValueError if unsupported.
void force_isa(Isa isa);

}  // namespace tenon
