#include "schedule/operands.h"

#include <algorithm>
#include <cstddef>

namespace tenon::schedule {
namespace {

void add(PackedOperands& packed, const Operand& o) {
    const Layout& l = o.view.layout;
    packed.locations.push_back(o.at);
    packed.views.push_back(static_cast<std::int64_t>(o.view.dtype) << 8 | l.rank());
    packed.views.insert(packed.views.end(), l.shape.begin(), l.shape.end());
    packed.views.insert(packed.views.end(), l.strides.begin(), l.strides.end());
}

}  // namespace

PackedOperands packed_operands(const std::vector<Task>& tasks) {
    PackedOperands packed;
    for (const Task& t : tasks) {
        if (t.is_number) continue;
        for (const Operand& o : t.in) add(packed, o);
        for (const Operand& o : t.out) add(packed, o);
    }
    return packed;
}

std::int64_t OperandReader::next(View& view) {
    const auto rank = static_cast<int>(at_[0] & 255);
    view.dtype = static_cast<DType>(*at_++ >> 8);
    view.layout.offset = 0;
    for (Extents* e : {&view.layout.shape, &view.layout.strides}) {
        // Mostly it has this rank already, and nothing is cleared.
        if (e->rank() != rank) *e = Extents(rank, 0);
        for (int i = 0; i < rank; ++i) (*e)[i] = *at_++;
    }
    return (location_++)->offset;
}

void OperandReader::fetch() const {
    constexpr std::ptrdiff_t kOfATask = 64, kLine = 8;  // words
    const std::int64_t* const end = at_ + std::min(kOfATask, end_ - at_);
    for (const std::int64_t* p = at_; p < end; p += kLine) __builtin_prefetch(p);
    __builtin_prefetch(location_);
}

}  // namespace tenon::schedule
