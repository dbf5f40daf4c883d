// What the *_isa.cpp files of this folder offer to kernels.cpp: each fills its part of a set's table.
#pragma once

#include "tape/kernels.h"

#define TENON_DECLARE_FILLS(isa)           \
    namespace tenon::tape::isa {           \
    void fill_unary(KernelTable& t);       \
    void fill_binary(KernelTable& t);      \
    void fill_cast(KernelTable& t);        \
    void fill_reduce(KernelTable& t);      \
    void fill_strips(KernelTable& t);      \
    void fill_row_kernels(KernelTable& t); \
    }

TENON_DECLARE_FILLS(baseline)
#if defined(__x86_64__)
TENON_DECLARE_FILLS(avx2)
TENON_DECLARE_FILLS(avx512)
#elif defined(__aarch64__)
TENON_DECLARE_FILLS(neon)
#endif
