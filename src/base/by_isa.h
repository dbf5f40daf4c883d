// TENON_BY_ISA(isa, object): the object of an instruction set. Each set's kernels are compiled into a namespace of
// their own (baseline, avx2, avx512, neon), which must be visible where this is used.
#pragma once

#include "base/cpu.h"

#if defined(__x86_64__)
#define TENON_BY_ISA(isa, object) \
    ((isa) == Isa::avx512 ? avx512::object : (isa) == Isa::avx2 ? avx2::object : baseline::object)
#elif defined(__aarch64__)
#define TENON_BY_ISA(isa, object) ((isa) == Isa::neon ? neon::object : baseline::object)
#else
#define TENON_BY_ISA(isa, object) (static_cast<void>(isa), baseline::object)
#endif
