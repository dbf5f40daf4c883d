#include "tape/kept_plans.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tenon::tape {
namespace {

struct Kept {
    Tape tape;
    CachedPlan plan;
};
/// Of a network's block, and a few more.
struct Plans {
    std::array<Kept, 8> kept;
    std::size_t next = 0;  // the one that gives way
};

// Destructors that run as a thread ends may compute, so what they find is trivially destructible.
constinit thread_local Plans* plans = nullptr;
constinit thread_local bool ended = false;

struct End {
    ~End() {
        ended = true;
        delete std::exchange(plans, nullptr);
    }
};

bool same(const Tape& a, const Tape& b) {
    const auto equal = [](const Instruction& x, const Instruction& y) {
        return x.op == y.op && x.type == y.type && x.result == y.result && std::ranges::equal(x.operands, y.operands);
    };
    return a.inputs == b.inputs && a.outputs == b.outputs && std::ranges::equal(a.code, b.code, equal);
}

Kept* find(const Tape& tape) {
    const auto at = std::ranges::find_if(plans->kept, [&](const Kept& k) { return same(k.tape, tape); });
    return at == plans->kept.end() ? nullptr : &*at;
}

}  // namespace

CachedPlan take_plan(const Tape& tape) {
    if (!plans) return nullptr;
    Kept* const kept = find(tape);
    return kept ? std::exchange(kept->plan, nullptr) : nullptr;
}

void keep_plan(const Tape& tape, CachedPlan plan) {
    if (!plan || ended) return;
    if (!plans) {
        static thread_local End end;
        plans = new Plans;
    }
    Kept* kept = find(tape);
    if (!kept) {
        kept = &plans->kept[plans->next++ % plans->kept.size()];
        kept->tape = tape;
    }
    kept->plan = std::move(plan);
}

}  // namespace tenon::tape
