#include "product/chain/prepared.h"

#include <algorithm>
#include <mutex>

#include "product/dense/blocked.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

/// Chains that are kept; the one that is kept longest gives way.
constexpr std::size_t kKept = 32;

// The evaluator calls from one thread at a time and holds its lock in a fork, so this mutex is free then.
struct Idle {
    std::mutex mutex;
    std::array<std::unique_ptr<Prepared>, kKept> chains;
    std::size_t next = 0;
};
/// Never destroyed: a destructor of static storage may compute.
Idle& idle() {
    static Idle& all = *new Idle;
    return all;
}

}  // namespace

Choice choose(const Chain& c, const Intermediate& intermediate) {
    if (is_tiny(c) && !c.always) return {{}, "it is tiny"};
    const auto takes = [&](const Applicability& v) { return c.always ? !v.unsupported : !v.declines(); };
    LanesForm lanes = lanes_form(c, intermediate);
    if (SmallForm form = small_form(c, lanes); !form.declines()) return {form};
    if (PanelsForm form = panels_form(c, lanes); takes(form)) return {form};
    if (takes(lanes)) return {lanes};
    if (RowsForm form = rows_form(c, intermediate); takes(form)) return {form};
    const BlocksForm blocks = blocks_form(c, intermediate, num_threads());
    if (takes(blocks)) return {blocks};
    return {{}, lanes.unsupported ? blocks.declines() : lanes.unprofitable};
}

PreparedKey::PreparedKey(const Chain& c) {
    valid_ = !c.between && !c.epilogue && !c.finish.scales();
    if (!valid_) return;
    for (const View* v : {&c.a, &c.b, &c.c, &c.out}) add(*v);
    for (const View* v : {c.kept_product, c.kept_intermediate}) {
        add(v != nullptr);
        if (v) add(*v);
    }
    for (const Labels* l : {&c.first, &c.second}) add(l->a), add(l->b), add(l->out);
    add(c.reading);
    add(static_cast<std::int64_t>(c.product) << 2 | (c.z_is_a ? 2 : 0) | (c.always ? 1 : 0));
    add((c.a.owner ? 4 : 0) | (c.b.owner ? 2 : 0) | (c.c.owner ? 1 : 0));
    add(num_threads());
    add(static_cast<std::int64_t>(isa()) << 1 | (dense::multiplies_pairs() ? 1 : 0));
}

void PreparedKey::add(std::int64_t word) {
    valid_ = valid_ && size_ < words_.size();
    if (valid_) words_[size_++] = word;
}

void PreparedKey::add(const Layout& layout) {
    add(std::int64_t{layout.rank()});
    for (int i = 0; i < layout.rank(); ++i) add(layout.shape[i]), add(layout.strides[i]);
    add(layout.offset);
}

void PreparedKey::add(const View& view) {
    add(static_cast<std::int64_t>(view.dtype));
    add(view.layout);
}

void PreparedKey::add(std::span<const std::uint8_t> labels) {
    std::int64_t word = static_cast<std::int64_t>(labels.size());
    int bytes = 1;
    for (const std::uint8_t label : labels) {
        word = word << 8 | label;
        if (++bytes == 8) add(word), word = 0, bytes = 0;
    }
    add(word);
}

bool operator==(const PreparedKey& x, const PreparedKey& y) {
    return x.valid_ && y.valid_ && x.size_ == y.size_ &&
           std::equal(x.words_.begin(), x.words_.begin() + static_cast<std::ptrdiff_t>(x.size_), y.words_.begin());
}

Borrowed::Borrowed(const Chain& chain) {
    const PreparedKey key(chain);
    if (key.is_valid()) {
        Idle& all = idle();
        const std::lock_guard<std::mutex> lock(all.mutex);
        for (std::unique_ptr<Prepared>& each : all.chains)
            if (each && each->key == key) {
                prepared_ = std::move(each);
                return;
            }
    }
    prepared_ = std::make_unique<Prepared>(chain, key);
}

Borrowed::~Borrowed() {
    if (!prepared_->key.is_valid()) return;
    Idle& all = idle();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto free = std::find(all.chains.begin(), all.chains.end(), nullptr);
    auto& place = free != all.chains.end() ? *free : all.chains[all.next++ % kKept];
    std::swap(place, prepared_);
}

}  // namespace tenon::product::chain
