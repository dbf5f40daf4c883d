#include "product/weights.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <mutex>
#include <new>
#include <string_view>
#include <vector>

#include "base/environment.h"
#include "base/storage.h"
#include "base/text.h"
#include "product/dense/blocked.h"
#include "tenon/error.h"

namespace tenon::product {

struct PackedWeight {
    dense::PackedB layout;
    std::shared_ptr<Storage> memory;
    std::unique_ptr<std::int32_t[]> column_sums;
    std::int64_t bytes = 0;
    std::uint64_t used = 0;  // the last evaluation that used it

    PackedWeight() = default;
    ~PackedWeight();
    PackedWeight(const PackedWeight&) = delete;
    PackedWeight& operator=(const PackedWeight&) = delete;
};

namespace {

/// The most views of one storage that are distinguished; of more, the one seen longest ago is dropped.
constexpr std::size_t kViews = 4;
/// Evaluations after which a weight that none of them used may be dropped for another.
constexpr std::uint64_t kRecent = 64;

struct Key {
    const void *data, *kernels;
    DType type;
    std::int64_t k, n, k_stride, n_stride;
    friend bool operator==(const Key&, const Key&) = default;
};
/// The offsets of a foreign form, one list after the other, each preceded by its length.
std::vector<std::int64_t> joined(PackedForm::Offsets lists) {
    std::vector<std::int64_t> all;
    for (const auto* list : lists) {
        all.push_back(static_cast<std::int64_t>(list->size()));
        all.insert(all.end(), list->begin(), list->end());
    }
    return all;
}
bool is_joined(const std::vector<std::int64_t>& all, PackedForm::Offsets lists) {
    auto at = all.begin();
    for (const auto* list : lists) {
        if (all.end() - at <= static_cast<std::ptrdiff_t>(list->size())) return false;
        if (*at++ != static_cast<std::int64_t>(list->size()) || !std::equal(list->begin(), list->end(), at))
            return false;
        at += static_cast<std::ptrdiff_t>(list->size());
    }
    return at == all.end();
}

/// What is remembered about a storage.
struct Seen {
    struct View {
        Key key;
        std::vector<std::int64_t> offsets;  // joined; empty for our own form
        std::uint64_t first, last;  // the first and the last evaluation
        std::shared_ptr<PackedWeight> weight;  // or null
    };
    std::vector<View> views;
};

// The evaluator calls from one thread at a time and holds its lock during a fork, so this mutex is free then. Storages
// may be destroyed at any time, in any thread; that takes no lock.
std::mutex mutex;
std::vector<std::weak_ptr<PackedWeight>> all;
std::atomic<std::uint64_t> evaluation{0};
std::atomic<std::int64_t> packed{0}, reused{0}, dropped{0}, weights{0}, bytes{0};

std::int64_t limit_at_the_start() {
    if (const char* given = environment("TENON_PACKED_WEIGHTS")) {
        const std::string_view word = given;
        if (word == "off") return 0;
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        if (error != std::errc() || end != word.data() + word.size() || value < 0)
            throw ValueError(text("TENON_PACKED_WEIGHTS=", given, ": neither a number of bytes nor off"));
        return value;
    }
    const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    return std::min(std::int64_t{1} << 30, std::max<std::int64_t>(memory, 0) / 8);
}
std::atomic<std::int64_t>& limit() {
    static std::atomic<std::int64_t> value{limit_at_the_start()};
    return value;
}

/// The stride of an axis in b that stands for all axes of a list; returns false if there is none. 0 for no axis.
bool stride_in_b(const AxisList& axes, std::int64_t& stride) {
    stride = 0;
    const Axis* outer = nullptr;
    for (const Axis& axis : axes) {
        if (axis.extent == 1) continue;
        if (outer && outer->b != axis.b * axis.extent) return false;
        stride = axis.b;
        outer = &axis;
    }
    return true;
}

/// Makes room by dropping what no recent evaluation used; returns false if that is not enough.
bool make_room(std::int64_t wanted, std::uint64_t now) {
    const std::int64_t most = limit();
    if (wanted > most) return false;
    std::vector<std::shared_ptr<PackedWeight>> old;
    for (const auto& weak : all)
        if (auto weight = weak.lock(); weight && weight->memory && weight->used + kRecent < now)
            old.push_back(std::move(weight));
    std::sort(old.begin(), old.end(), [](const auto& x, const auto& y) { return x->used < y->used; });
    for (const auto& weight : old) {
        if (bytes + wanted <= most) break;
        bytes -= weight->bytes, --weights, ++dropped;
        weight->bytes = 0;
        weight->memory.reset();
    }
    return bytes + wanted <= most;
}

/// fill(weight) writes to its memory.
template <class Fill>
std::shared_ptr<PackedWeight> pack(std::int64_t size, Fill&& fill) {
    const std::lock_guard lock(mutex);
    std::erase_if(all, [](const auto& weak) { return weak.expired(); });
    if (!make_room(size, evaluation)) return nullptr;
    try {
        auto weight = std::make_shared<PackedWeight>();
        all.push_back(weight);
        weight->memory = Storage::allocate(size);
        fill(*weight);
        weight->bytes = size;
        bytes += size, ++weights, ++packed;
        return weight;
    } catch (const MemoryError&) {
    } catch (const std::bad_alloc&) {
    }
    return nullptr;
}

void fill_panels(PackedWeight& weight, const Key& key, const View& b, const dense::PackedB& layout) {
    if (is_byte(key.type)) weight.column_sums = std::make_unique<std::int32_t[]>(static_cast<std::size_t>(key.n));
    weight.layout = layout;
    weight.layout.data = static_cast<std::byte*>(weight.memory->data());
    weight.layout.column_sums = weight.column_sums.get();
    View matrix{b.data, b.dtype, {}};
    matrix.layout.shape = {key.k, key.n};
    matrix.layout.strides = {key.k_stride, key.n_stride};
    dense::pack_b(weight.layout, matrix, weight.column_sums.get());
}

Seen::View& find(Storage& owner, const Key& key, PackedForm::Offsets offsets, std::uint64_t now) {
    if (!owner.made()) owner.keep(std::make_shared<Seen>());
    std::vector<Seen::View>& views = static_cast<Seen*>(owner.made().get())->views;
    const auto at = std::find_if(views.begin(), views.end(),
                                 [&](const Seen::View& v) { return v.key == key && is_joined(v.offsets, offsets); });
    if (at != views.end()) return *at;
    const Seen::View fresh{key, joined(offsets), now, now, nullptr};
    if (views.size() < kViews) return views.emplace_back(fresh);
    return *std::min_element(views.begin(), views.end(), [](auto& x, auto& y) { return x.last < y.last; }) = fresh;
}

/// What is kept of a view; fill(weight) packs it when it recurs.
template <class Fill>
std::shared_ptr<const PackedWeight> kept(Storage& owner, const Key& key, PackedForm::Offsets offsets, std::int64_t size,
                                         Fill&& fill) {
    const std::uint64_t now = evaluation;
    Seen::View& seen = find(owner, key, offsets, now);
    seen.last = now;
    if (seen.weight && !seen.weight->memory) seen.weight = nullptr, seen.first = now;  // it was dropped for another
    if (seen.weight)
        ++reused;
    else if (seen.first != now)
        seen.weight = pack(size, fill);
    if (seen.weight) seen.weight->used = now;
    return seen.weight;
}

bool may_be_kept(const View& b) { return b.owner && b.owner->ours() && limit() != 0; }

}  // namespace

PackedWeight::~PackedWeight() {
    if (bytes == 0) return;
    product::bytes -= bytes;
    --weights;
}

const dense::PackedB& panels(const PackedWeight& weight) { return weight.layout; }

std::shared_ptr<const PackedWeight> packed_weight(const AxisRoles& roles, const View& a, const View& b,
                                                  const View& out) {
    const std::int64_t k = roles.summed.count(), n = roles.columns.count();
    if (!may_be_kept(b) || roles.rows.count() >= kWeightRows ||
        k * n * static_cast<std::int64_t>(size_of(b.dtype)) <= kWeightBytes)
        return nullptr;
    const AxisList columns = in_output_order(roles.columns);
    Key key{b.data, nullptr, b.dtype, k, n, 0, 0};
    const bool one =
        std::all_of(roles.batch.begin(), roles.batch.end(), [](const Axis& x) { return x.extent == 1 || x.b == 0; });
    if (!one || !stride_in_b(roles.summed, key.k_stride) || !stride_in_b(columns, key.n_stride)) return nullptr;
    if (!dense::packing_pays(roles, a, b, out)) return nullptr;
    const dense::PackedB layout = dense::packed_layout(a.dtype, b.dtype, k, n);
    key.kernels = layout.kernels;

    return kept(*b.owner, key, {}, dense::packed_bytes(layout),
                [&](PackedWeight& weight) { fill_panels(weight, key, b, layout); });
}

std::shared_ptr<const PackedWeight> packed_weight(const View& b, const PackedForm& form,
                                                  FunctionRef<void(std::byte*)> pack) {
    if (!may_be_kept(b)) return nullptr;
    const Key key{b.data, form.kernels, b.dtype, 0, 0, 0, 0};  // k and n are only for our own form
    return kept(*b.owner, key, form.offsets, form.bytes,
                [&](PackedWeight& weight) { pack(static_cast<std::byte*>(weight.memory->data())); });
}

const std::byte* data(const PackedWeight& weight) { return static_cast<const std::byte*>(weight.memory->data()); }

void next_evaluation() { ++evaluation; }

WeightStatistics weight_statistics() { return {packed, reused, dropped, weights, bytes}; }

void set_packed_weights_limit(std::int64_t most) {
    if (most < 0) throw ValueError(text("set_packed_weights_limit: ", most, " bytes"));
    limit() = most;
}

}  // namespace tenon::product
