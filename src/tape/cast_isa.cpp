// The loops of cast, from each dtype to each.
#include "tape/convert.h"
#include "tape/loops_isa.h"

namespace tenon::tape::TENON_ISA {
namespace {

template <DType From, DType To>
void loop(void* out, const void* const* in, std::int64_t n) {
    const auto* x = static_cast<const Stored<From>*>(in[0]);
    auto* y = static_cast<Stored<To>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i) y[i] = convert<From, To>(x[i]);
}

template <DType From, DType... To>
void fill_row(Kernel* row, Types<To...>) {
    ((row[static_cast<int>(To)] = &loop<From, To>), ...);
}
template <DType... From>
void fill(KernelTable& t, Types<From...>) {
    (fill_row<From>(t.cast[static_cast<int>(From)], TypesA{}), ...);
}

}  // namespace

void fill_cast(KernelTable& t) { fill(t, TypesA{}); }

}  // namespace tenon::tape::TENON_ISA
