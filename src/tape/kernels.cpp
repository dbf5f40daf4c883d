#include "tape/kernels.h"

#include "base/text.h"
#include "tape/loops_isa.h"
#include "tenon/error.h"

namespace tenon::tape {
namespace {

using Fill = void (*)(KernelTable&);

KernelTable table(Fill unary, Fill binary, Fill cast, Fill reduce, Fill strips, Fill row_kernels) {
    KernelTable t{};
    unary(t);
    binary(t);
    cast(t);
    reduce(t);
    strips(t);
    row_kernels(t);
    return t;
}

}  // namespace

#define TENON_TABLE(isa)                                                                                        \
    case Isa::isa: {                                                                                            \
        static const KernelTable t = table(isa::fill_unary, isa::fill_binary, isa::fill_cast, isa::fill_reduce, \
                                           isa::fill_strips, isa::fill_row_kernels);                            \
        return t;                                                                                               \
    }

const KernelTable& kernels(Isa isa) {
    switch (isa) {
        TENON_TABLE(baseline)
#if defined(__x86_64__)
        TENON_TABLE(avx2)
        TENON_TABLE(avx512)
#elif defined(__aarch64__)
        TENON_TABLE(neon)
#endif
        default:
            throw ValueError(text("tape: this build has no kernels for ", name(isa)));
    }
}

}  // namespace tenon::tape
