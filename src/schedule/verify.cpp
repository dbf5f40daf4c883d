#include <algorithm>
#include <stdexcept>

#include "base/text.h"
#include "schedule/executable.h"
#include "schedule/plan.h"

namespace tenon::schedule {
namespace {

[[noreturn]] void fail(const auto&... what) { throw std::logic_error(text("verify: ", what...)); }

/// The bytes that a view touches, from its pointer on.
struct Range {
    std::int64_t low = 0, high = 0;
};
Range range_of(const View& v) {
    Range r;
    if (v.layout.count() == 0) return r;
    for (int d = 0; d < v.layout.rank(); ++d) {
        const std::int64_t span = (v.layout.shape[d] - 1) * v.layout.strides[d];
        (span < 0 ? r.low : r.high) += span;
    }
    const auto size = static_cast<std::int64_t>(size_of(v.dtype));
    r.low *= size;
    r.high = (r.high + 1) * size;
    return r;
}

/// Whether the elements of a result are all of its memory's, in any order.
bool fills(const View& v) {
    if (v.layout.is_contiguous()) return true;
    for (int d = 0; d < v.layout.rank(); ++d)
        if (v.layout.shape[d] > 1 && v.layout.strides[d] <= 0) return false;
    const Range r = range_of(v);
    return r.low == 0 && r.high == v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype));
}

class Verifier {
  public:
    Verifier(const Executable& e, const Graph& g) : e_(e), g_(g), written_(e.own.size()) {}

    void run() {
        buffers();
        for (std::size_t t = 0; t < e_.tasks.size(); ++t) task(t);
        for (const Result& r : e_.results) result(r);
    }

  private:
    void buffers() const {
        for (std::size_t i = 0; i < e_.buffers.size(); ++i) {
            const Buffer& a = e_.buffers[i];
            if (a.offset < 0 || a.offset + a.bytes > e_.arena_bytes) fail("buffer ", i, " is outside the arena");
            for (std::size_t j = 0; j < i; ++j) {
                const Buffer& b = e_.buffers[j];
                const bool together = a.first <= b.last && b.first <= a.last;
                if (together && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes && a.bytes && b.bytes)
                    fail("buffers ", j, " and ", i, " overlap");
            }
        }
        if (e_.least_bytes > e_.arena_bytes) fail("the arena is below its bound");
    }

    /// The buffer of an operand that task t uses.
    const Buffer& buffer_at(const Operand& o, std::size_t t) const {
        const Range r = range_of(o.view);
        for (const Buffer& b : e_.buffers)
            if (b.first <= static_cast<std::int64_t>(t) && static_cast<std::int64_t>(t) <= b.last &&
                b.offset <= o.at.offset + r.low && o.at.offset + r.high <= b.offset + b.bytes)
                return b;
        fail("task ", t, " uses memory of no buffer");
    }

    void task(std::size_t t) {
        const Task& task = e_.tasks[t];
        if (task.out.empty()) fail("task ", t, " has no result");
        for (const Operand& o : task.in) {
            if (o.at.in == Location::In::own && !written_[o.at.index]) fail("task ", t, " reads a result too early");
            if (o.at.in == Location::In::arena && o.view.layout.count() > 0) {
                const Buffer& b = buffer_at(o, t);
                if (b.first >= static_cast<std::int64_t>(t)) fail("task ", t, " reads a buffer before it is written");
            }
            if (o.at.in == Location::In::leaf && !g_.nodes[o.at.index]->value()) fail("a leaf has no value");
            within(o);
        }
        for (const Operand& o : task.out) {
            if (o.at.in == Location::In::leaf || o.at.in == Location::In::constant) fail("task ", t, " writes a leaf");
            if (!fills(o.view)) fail("task ", t, " has a result with gaps");
            if (o.at.in == Location::In::own) written_[o.at.index] = true;
            if (o.at.in == Location::In::arena && o.view.layout.count() > 0) buffer_at(o, t);
            within(o);
        }
        types(task);
    }

    void within(const Operand& o) const {
        if (o.view.layout.count() == 0) return;
        const Range r = range_of(o.view);
        const std::int64_t bytes = o.at.in == Location::In::own        ? e_.own[o.at.index]
                                   : o.at.in == Location::In::constant ? e_.constants[o.at.index]->bytes()
                                   : o.at.in == Location::In::arena    ? e_.arena_bytes
                                                                       : -1;
        if (bytes >= 0 && (o.at.offset + r.low < 0 || o.at.offset + r.high > bytes)) fail("a view leaves its memory");
    }

    void types(const Task& task) const {
        if (task.kind == Task::Kind::kernel) {
            const Node& n = *g_.nodes[task.node];
            if (task.in.size() != n.inputs.size()) fail(n.primitive->name, ": operands are missing");
            for (std::size_t i = 0; i < n.inputs.size(); ++i)
                if (task.in[i].view.dtype != n.inputs[i]->dtype || task.in[i].view.shape() != n.inputs[i]->shape)
                    fail(n.primitive->name, ": operand ", i, " is another");
            if (task.out[0].view.dtype != n.dtype || task.out[0].view.shape() != n.shape)
                fail(n.primitive->name, ": the result is another");
        }
    }

    void result(const Result& r) const {
        const Node& n = *g_.nodes[r.node];
        if (!g_.held[r.node]) fail("a node gets a value that nobody asked for");
        if (r.layout.shape != n.shape)
            fail("a value of shape ", to_string(r.layout.shape), " for ", to_string(n.shape));
        if (r.at.in == Location::In::arena) fail("a value in the arena");
        if (r.at.in == Location::In::own && !written_[r.at.index]) fail("a value that nothing computes");
    }

    const Executable& e_;
    const Graph& g_;
    std::vector<bool> written_;
};

}  // namespace

void verify(const Executable& e, const Graph& g) { Verifier(e, g).run(); }

}  // namespace tenon::schedule
