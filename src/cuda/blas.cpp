#include "cuda/blas.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <compare>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/text.h"
#include "cuda/chain/kronecker.h"
#include "cuda/loops.h"
#include "cuda/small_products.h"
#include "product/axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using product::Axis;

// The library's declarations that are needed, after its documentation.
using Handle = struct BlasTag*;
using Description = struct DescriptionTag*;
using MatrixLayout = struct MatrixLayoutTag*;
using Preference = struct PreferenceTag*;
struct Algorithm {
    std::uint64_t data[8];
};
struct Heuristic {
    Algorithm algorithm;
    std::size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

enum : int { kTransposeA = 3, kTransposeB = 4 };  // of a description
enum : int { kBatchCount = 5, kBatchOffset = 6 };  // of a layout
enum : int { kWorkspaceBytes = 1, kAlignmentA = 5, kAlignmentB, kAlignmentC, kAlignmentD };  // of a preference
enum : int { kSplits = 2 };  // of an algorithm
enum : int { kSums32 = 68, kSums64 = 70 };

#define TENON_BLAS_FUNCTIONS(X)                                                                                       \
    X(create, cublasLtCreate, (Handle*))                                                                              \
    X(describe, cublasLtMatmulDescCreate, (Description*, int, int))                                                   \
    X(describe_set, cublasLtMatmulDescSetAttribute, (Description, int, const void*, std::size_t))                     \
    X(describe_end, cublasLtMatmulDescDestroy, (Description))                                                         \
    X(layout, cublasLtMatrixLayoutCreate, (MatrixLayout*, int, std::uint64_t, std::uint64_t, std::int64_t))           \
    X(layout_set, cublasLtMatrixLayoutSetAttribute, (MatrixLayout, int, const void*, std::size_t))                    \
    X(layout_end, cublasLtMatrixLayoutDestroy, (MatrixLayout))                                                        \
    X(preference, cublasLtMatmulPreferenceCreate, (Preference*))                                                      \
    X(preference_set, cublasLtMatmulPreferenceSetAttribute, (Preference, int, const void*, std::size_t))              \
    X(preference_end, cublasLtMatmulPreferenceDestroy, (Preference))                                                  \
    X(choose, cublasLtMatmulAlgoGetHeuristic,                                                                         \
      (Handle, Description, MatrixLayout, MatrixLayout, MatrixLayout, MatrixLayout, Preference, int, Heuristic*,      \
       int*))                                                                                                         \
    X(algorithm_get, cublasLtMatmulAlgoConfigGetAttribute, (const Algorithm*, int, void*, std::size_t, std::size_t*)) \
    X(multiply, cublasLtMatmul,                                                                                       \
      (Handle, Description, const void*, const void*, MatrixLayout, const void*, MatrixLayout, const void*,           \
       const void*, MatrixLayout, void*, MatrixLayout, const Algorithm*, void*, std::size_t, StreamHandle))

struct Blas {
#define TENON_DECLARE(member, symbol, parameters) int(*member) parameters = nullptr;
    TENON_BLAS_FUNCTIONS(TENON_DECLARE)
#undef TENON_DECLARE
    std::string absent;
};

std::string load(Blas& b) {
    constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    std::string tried;
    void* library = open_library("TENON_CUBLASLT", kNames, std::size(kNames), tried);
    if (!library) return text("no cuBLASLt: ", tried);
#define TENON_BIND(member, symbol, parameters)                               \
    b.member = reinterpret_cast<int(*) parameters>(dlsym(library, #symbol)); \
    if (!b.member) return "cuBLASLt is too old (it has no " #symbol ")";
    TENON_BLAS_FUNCTIONS(TENON_BIND)
#undef TENON_BIND
    return {};
}

Blas& blas() {
    static Blas& once = *[] {
        auto* b = new Blas;
        b->absent = load(*b);
        return b;
    }();
    return once;
}

void expect(int status, const char* what) {
    if (status == 0) return;
    constexpr int kAllocationFailed = 3;
    if (status == kAllocationFailed) throw MemoryError(text("cuda: ", what, ": no memory"));
    throw ValueError(text("cuda: ", what, ": status ", status));
}

/// cudaDataType of a dtype the library is asked for; -1 for others.
int data_type(DType t) {
    switch (t) {
        case DType::float32:
            return 0;
        case DType::float64:
            return 1;
        case DType::float16:
            return 2;
        case DType::bfloat16:
            return 14;
        default:
            return -1;
    }
}

/// A matrix as the library stores it, column by column.
struct Matrix {
    std::int64_t rows, columns, leading;
    int transposed;
    std::int64_t batch_stride;
    const std::byte* data;
};

/// Strides of one axis in a, b and out.
struct Extent {
    std::int64_t n = 1, a = 0, b = 0, out = 0;
};

bool follows(const Extent& outer, const Extent& inner) {
    return outer.a == inner.a * inner.n && outer.b == inner.b * inner.n && outer.out == inner.out * inner.n;
}

/// Axes without those of extent 1, joined where they run together in all three views, the longest strides first.
std::vector<Extent> joined(const product::AxisList& axes, std::int64_t Extent::*by) {
    std::vector<Extent> all;
    for (const Axis& x : axes)
        if (x.extent != 1) all.push_back({x.extent, x.a, x.b, x.out});
    std::ranges::stable_sort(all, [by](const Extent& x, const Extent& y) { return std::abs(x.*by) > std::abs(y.*by); });
    for (std::size_t i = all.size(); i-- > 1;) {
        if (!follows(all[i - 1], all[i])) continue;
        const std::int64_t n = all[i - 1].n;
        all[i - 1] = all[i];
        all[i - 1].n *= n;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return all;
}

/// A contraction as matrices: rows, columns and the summed axis are one each, the rest is batch.
struct Problem {
    Extent m, n, k;
    std::vector<Extent> batch;
};

/// One of the axes becomes the matrix's, the others batch: the one that lies side by side where there is one, else the
/// longest.
Extent take(std::vector<Extent> axes, std::int64_t Extent::*side, std::vector<Extent>& batch) {
    if (axes.empty()) return {};
    auto best = std::ranges::max_element(axes, [&](const Extent& x, const Extent& y) {
        const bool x_side = std::abs(x.*side) == 1 || std::abs(x.out) == 1,
                   y_side = std::abs(y.*side) == 1 || std::abs(y.out) == 1;
        return x_side != y_side ? y_side : x.n < y.n;
    });
    const Extent taken = *best;
    axes.erase(best);
    batch.insert(batch.end(), axes.begin(), axes.end());
    return taken;
}

Problem problem_of(const product::AxisRoles& roles, std::vector<Extent>& summed) {
    Problem p;
    p.batch = joined(roles.batch, &Extent::out);
    p.m = take(joined(roles.rows, &Extent::out), &Extent::a, p.batch);
    p.n = take(joined(roles.columns, &Extent::out), &Extent::b, p.batch);
    summed = joined(roles.summed, &Extent::a);
    if (summed.size() == 1) p.k = summed[0];
    return p;
}

/// Whether an operand of these two axes is stored with one of them side by side and no overlap.
bool is_matrix(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride) {
    if (rows == 1 && columns == 1) return true;
    if (rows == 1) return column_stride >= 1;
    if (columns == 1) return row_stride >= 1;
    return (row_stride == 1 && column_stride >= rows) || (column_stride == 1 && row_stride >= columns);
}

/// The operand x[i, j] (i the library's row) under its storage.
Matrix matrix_of(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride,
                 std::int64_t batch_stride, const std::byte* data) {
    const bool straight = rows == 1 ? column_stride != 1 || columns == 1 : row_stride == 1;
    if (straight) return {rows, columns, columns == 1 ? rows : std::max(column_stride, rows), 0, batch_stride, data};
    return {columns, rows, rows == 1 ? columns : std::max(row_stride, columns), 1, batch_stride, data};
}

/// What a call is prepared from.
struct Key {
    std::array<std::int64_t, 20> words;
    auto operator<=>(const Key&) const = default;
};

struct Call {
    Description description = nullptr;
    MatrixLayout a = nullptr, b = nullptr, d = nullptr;
    std::vector<Heuristic> algorithms;  // the library's first choice, then what gives the same bits
};

constexpr std::size_t kWorkspace = std::size_t{32} << 20;
constexpr std::size_t kMostAlgorithms = 8;
constexpr std::int64_t kFewRows = 32;
/// Of products for which algorithms are timed: with fewer a launch takes longer, with more the library's choice is
/// good.
constexpr double kLeastFlops = 1e8, kMostFlops = 5e10;

/// Of a device; the workspace is shared by calls that follow each other in its stream.
struct Library {
    Handle handle = nullptr;
    std::shared_ptr<Storage> workspace;
    std::map<Key, Call> calls;
    std::mutex mutex;
};

Library& library_of(Gpu& gpu) {
    static auto& mutex = *new std::mutex;
    static auto& all = *new std::map<int, Library*>;
    const std::lock_guard lock(mutex);
    Library*& l = all[gpu.index()];
    if (!l) {
        auto made = std::make_unique<Library>();
        const Gpu::Scope scope(gpu);
        expect(blas().create(&made->handle), "cublasLtCreate");
        made->workspace = gpu.allocate(kWorkspace);
        l = made.release();
    }
    return *l;
}

MatrixLayout layout_of(const Matrix& x, int type, std::int64_t batch) {
    MatrixLayout l = nullptr;
    expect(
        blas().layout(&l, type, static_cast<std::uint64_t>(x.rows), static_cast<std::uint64_t>(x.columns), x.leading),
        "cublasLtMatrixLayoutCreate");
    if (batch > 1) {
        const auto count = static_cast<std::int32_t>(batch);
        expect(blas().layout_set(l, kBatchCount, &count, sizeof count), "cublasLtMatrixLayoutSetAttribute");
        expect(blas().layout_set(l, kBatchOffset, &x.batch_stride, sizeof x.batch_stride),
               "cublasLtMatrixLayoutSetAttribute");
    }
    return l;
}

std::uint32_t alignment_of(const void* p) {
    const auto address = reinterpret_cast<std::uintptr_t>(p);
    return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & -address, 16));
}

std::int32_t splits_of(const Heuristic& h) {
    std::int32_t splits = 1;
    std::size_t written = 0;
    blas().algorithm_get(&h.algorithm, kSplits, &splits, sizeof splits, &written);
    return splits;
}

/// On tensor cores those that do not split what is summed add it up in one order, whatever their tiles: they give the
/// same bits. The others stay only where the library prefers one, which stays alone then. Of a few rows what is read
/// once is not split where other tiles fill the device.
void keep_alike(std::vector<Heuristic>& all, bool few_rows) {
    const auto whole = [](const Heuristic& h) { return splits_of(h) <= 1; };
    if (few_rows && !whole(all[0])) {
        constexpr float kFilled = 0.5F;
        const auto other =
            std::ranges::find_if(all, [&](const Heuristic& h) { return whole(h) && h.waves >= kFilled; });
        if (other != all.end()) std::rotate(all.begin(), other, other + 1);
    }
    if (!whole(all[0])) all.resize(1);
    std::erase_if(all, [&](const Heuristic& h) { return &h != all.data() && !whole(h); });
}

Call prepare(const Library& l, const Matrix& x, const Matrix& y, const Matrix& d, int in_type, int out_type,
             std::int64_t batch) {
    const Blas& f = blas();
    const bool wide = out_type == 1;
    Call c;
    expect(f.describe(&c.description, wide ? kSums64 : kSums32, wide ? 1 : 0), "cublasLtMatmulDescCreate");
    const std::int32_t op_x = x.transposed, op_y = y.transposed;
    expect(f.describe_set(c.description, kTransposeA, &op_x, sizeof op_x), "cublasLtMatmulDescSetAttribute");
    expect(f.describe_set(c.description, kTransposeB, &op_y, sizeof op_y), "cublasLtMatmulDescSetAttribute");
    c.a = layout_of(x, in_type, batch);
    c.b = layout_of(y, in_type, batch);
    c.d = layout_of(d, out_type, batch);
    Preference preference = nullptr;
    expect(f.preference(&preference), "cublasLtMatmulPreferenceCreate");
    const std::uint64_t bytes = kWorkspace;
    f.preference_set(preference, kWorkspaceBytes, &bytes, sizeof bytes);
    const std::pair<int, const void*> aligned[] = {
        {kAlignmentA, x.data}, {kAlignmentB, y.data}, {kAlignmentC, d.data}, {kAlignmentD, d.data}};
    for (const auto& [which, data] : aligned) {
        const std::uint32_t alignment = alignment_of(data);
        f.preference_set(preference, which, &alignment, sizeof alignment);
    }
    const bool tensor_cores = in_type == data_type(DType::bfloat16) || in_type == data_type(DType::float16);
    c.algorithms.resize(tensor_cores ? kMostAlgorithms : 1);
    int n = 0;
    const int status = f.choose(l.handle, c.description, c.a, c.b, c.d, c.d, preference,
                                static_cast<int>(c.algorithms.size()), c.algorithms.data(), &n);
    f.preference_end(preference);
    expect(status, "cublasLtMatmulAlgoGetHeuristic");
    if (n == 0) throw ValueError("cuda: cuBLASLt has no algorithm for a product");
    c.algorithms.resize(static_cast<std::size_t>(n));
    keep_alike(c.algorithms, std::min(d.rows, d.columns) <= kFewRows && batch == 1);
    return c;
}

/// The fastest of them on these operands, each read from memory.
template <class Multiply>
Heuristic fastest(Gpu& gpu, const std::vector<Heuristic>& all, Multiply&& multiply) {
    constexpr int kRounds = 6;  // the first is to warm up
    constexpr float kGain = 0.99F;
    const auto other = gpu.allocate(gpu.l2_bytes());
    Event start(gpu, true), end(gpu, true);
    std::vector<float> times(all.size(), 1e9F);
    for (int round = 0; round < kRounds; ++round)
        for (std::size_t i = 0; i < all.size(); ++i) {
            gpu.fill_bytes(other->data(), 0, other->bytes());
            start.record();
            multiply(all[i]);
            end.record();
            end.wait();
            if (round > 0) times[i] = std::min(times[i], end.since(start));
        }
    const auto best = std::ranges::min_element(times);
    return *best < kGain * times[0] ? all[static_cast<std::size_t>(best - times.begin())] : all[0];
}

/// d = x y over a batch, all as the library stores them.
void multiply(Gpu& gpu, const Matrix& x, const Matrix& y, const Matrix& d, DType in, DType out, std::int64_t batch) {
    Library& l = library_of(gpu);
    const Key key{{x.rows,
                   x.columns,
                   x.leading,
                   x.transposed,
                   x.batch_stride,
                   y.rows,
                   y.columns,
                   y.leading,
                   y.transposed,
                   y.batch_stride,
                   d.rows,
                   d.columns,
                   d.leading,
                   d.batch_stride,
                   batch,
                   static_cast<int>(in) * 64 + static_cast<int>(out),
                   alignment_of(x.data),
                   alignment_of(y.data),
                   alignment_of(d.data),
                   0}};
    const Gpu::Scope scope(gpu);
    const std::lock_guard lock(l.mutex);
    const float one = 1, zero = 0;
    const double wide_one = 1, wide_zero = 0;
    const bool wide = out == DType::float64;
    const void *alpha = wide ? static_cast<const void*>(&wide_one) : &one,
               *beta = wide ? static_cast<const void*>(&wide_zero) : &zero;
    auto* target = const_cast<std::byte*>(d.data);
    auto found = l.calls.find(key);
    if (found == l.calls.end())
        found = l.calls.emplace(key, prepare(l, x, y, d, data_type(in), data_type(out), batch)).first;
    Call& c = found->second;
    const auto run = [&](const Heuristic& h) {
        expect(blas().multiply(l.handle, c.description, alpha, x.data, c.a, y.data, c.b, beta, target, c.d, target, c.d,
                               &h.algorithm, l.workspace->data(), kWorkspace, gpu.stream()),
               "cublasLtMatmul");
    };
    if (detail::nth_algorithm >= 0)
        return run(c.algorithms[static_cast<std::size_t>(detail::nth_algorithm) % c.algorithms.size()]);
    const double flops = 2.0 * static_cast<double>(batch) * static_cast<double>(d.rows) *
                         static_cast<double>(d.columns) * static_cast<double>(x.transposed ? x.rows : x.columns);
    if (c.algorithms.size() > 1 && !gpu.is_recording()) {
        if (flops >= kLeastFlops && flops <= kMostFlops) c.algorithms[0] = fastest(gpu, c.algorithms, run);
        c.algorithms.resize(1);
    }
    run(c.algorithms[0]);
}

/// The problem on matrices that are all of the library's form: batch axes beyond the last one are a loop of the host.
void run(Gpu& gpu, const Problem& p, const View& a, const View& b, const View& out) {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype)),
               out_size = static_cast<std::int64_t>(size_of(out.dtype));
    // The largest batch axis is the library's.
    std::vector<Extent> outer = p.batch;
    Extent inner;
    if (!outer.empty()) {
        const auto largest = std::ranges::max_element(outer, {}, &Extent::n);
        inner = *largest;
        outer.erase(largest);
    }
    std::int64_t calls = 1;
    for (const Extent& e : outer) calls *= e.n;
    // The library's result is stored column by column: rows and columns change places where ours lies row by row.
    const bool swapped = p.n.n == 1 ? p.m.out != 1 : p.n.out == 1;
    for (std::int64_t i = 0; i < calls; ++i) {
        std::int64_t rest = i, at_a = 0, at_b = 0, at_out = 0;
        for (const Extent& e : outer) {
            const std::int64_t at = rest % e.n;
            rest /= e.n;
            at_a += at * e.a, at_b += at * e.b, at_out += at * e.out;
        }
        const auto *pa = a.as<std::byte>() + at_a * size, *pb = b.as<std::byte>() + at_b * size;
        auto* pd = out.as<std::byte>() + at_out * out_size;
        if (swapped) {
            const Matrix x = matrix_of(p.n.n, p.n.b, p.k.n, p.k.b, inner.b, pb);
            const Matrix y = matrix_of(p.k.n, p.k.a, p.m.n, p.m.a, inner.a, pa);
            const Matrix d{p.n.n, p.m.n, p.m.n == 1 ? p.n.n : std::max(p.m.out, p.n.n), 0, inner.out, pd};
            multiply(gpu, x, y, d, a.dtype, out.dtype, inner.n);
        } else {
            const Matrix x = matrix_of(p.m.n, p.m.a, p.k.n, p.k.a, inner.a, pa);
            const Matrix y = matrix_of(p.k.n, p.k.b, p.n.n, p.n.b, inner.b, pb);
            const Matrix d{p.m.n, p.n.n, p.n.n == 1 ? p.m.n : std::max(p.n.out, p.m.n), 0, inner.out, pd};
            multiply(gpu, x, y, d, a.dtype, out.dtype, inner.n);
        }
    }
}

/// The problem as small products; nothing where its axes do not allow it.
std::optional<SmallProducts> small_of(const Problem& p, const View& a, const View& b, const View& out) {
    if (p.batch.empty() || p.batch.size() > 2) return std::nullopt;
    const auto batch = [](const Extent& e, bool swapped) {
        return SmallProducts::Batch{e.n, swapped ? e.b : e.a, swapped ? e.a : e.b, e.out};
    };
    // Of the result, what lies side by side are the columns.
    const bool swapped = p.n.out != 1;
    if (swapped && p.m.out != 1) return std::nullopt;
    SmallProducts s{a.dtype,
                    out.dtype,
                    p.m.n,
                    p.n.n,
                    p.k.n,
                    a.as<std::byte>(),
                    b.as<std::byte>(),
                    out.as<std::byte>(),
                    p.m.a,
                    p.k.a,
                    p.k.b,
                    p.n.b,
                    p.m.out,
                    {},
                    {}};
    if (swapped)
        s = {a.dtype,
             out.dtype,
             p.n.n,
             p.m.n,
             p.k.n,
             b.as<std::byte>(),
             a.as<std::byte>(),
             out.as<std::byte>(),
             p.n.b,
             p.k.b,
             p.k.a,
             p.m.a,
             p.n.out,
             {},
             {}};
    s.inner = batch(p.batch.back(), swapped);
    if (p.batch.size() == 2) s.outer = batch(p.batch.front(), swapped);
    return s;
}

constexpr std::int64_t kMostCalls = 16;  // of the host, for one contraction

/// An operand copied so that its axes stand as `order` lists labels.
struct Copied {
    std::shared_ptr<Storage> storage;
    View view;
};
Copied copied(Gpu& gpu, const View& v, const std::vector<int>& order) {
    Layout from = v.layout;
    for (std::size_t i = 0; i < order.size(); ++i) {
        from.shape[static_cast<int>(i)] = v.layout.shape[order[i]];
        from.strides[static_cast<int>(i)] = v.layout.strides[order[i]];
    }
    Copied c{gpu.allocate(v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype))), {}};
    const Layout packed = Layout::contiguous(from.shape);
    View source = v, target{c.storage->data(), v.dtype, packed};
    source.layout = from;
    copy(gpu, source, target);
    c.view = v;
    c.view.data = c.storage->data();
    for (std::size_t i = 0; i < order.size(); ++i)
        c.view.layout.strides[order[i]] = packed.strides[static_cast<int>(i)];
    return c;
}

bool fits(const Problem& p, const std::vector<Extent>& summed) {
    if (summed.size() > 1) return false;
    if (!is_matrix(p.m.n, p.m.a, p.k.n, p.k.a) || !is_matrix(p.k.n, p.k.b, p.n.n, p.n.b) ||
        !is_matrix(p.m.n, p.m.out, p.n.n, p.n.out))
        return false;
    std::int64_t calls = 1, largest = 1;
    for (const Extent& e : p.batch) {
        if (e.a < 0 || e.b < 0 || e.out < 0) return false;
        calls *= e.n;
        largest = std::max(largest, e.n);
    }
    return calls / largest <= kMostCalls;
}

/// Positions of an operand's axes: batch, then rows or columns, then what is summed, each in the order of `like`.
std::vector<int> order_of(std::span<const std::uint8_t> labels, std::span<const std::uint8_t> first,
                          std::span<const std::uint8_t> second, std::span<const std::uint8_t> third) {
    std::vector<int> order;
    for (const auto list : {first, second, third})
        for (const std::uint8_t l : list)
            for (std::size_t i = 0; i < labels.size(); ++i)
                if (labels[i] == l) order.push_back(static_cast<int>(i));
    return order;
}

/// Copies operands (and gives the result memory of its own) so that every role is one axis.
void run_on_copies(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels) {
    const auto has = [](std::span<const std::uint8_t> list, std::uint8_t l) {
        return std::find(list.begin(), list.end(), l) != list.end();
    };
    std::vector<std::uint8_t> batch, rows, columns, summed;
    for (const std::uint8_t l : labels.out)
        (has(labels.a, l) ? (has(labels.b, l) ? batch : rows) : columns).push_back(l);
    for (const std::uint8_t l : labels.a)
        if (!has(labels.out, l)) summed.push_back(l);
    const Copied ca = copied(gpu, a, order_of(labels.a, batch, rows, summed)),
                 cb = copied(gpu, b, order_of(labels.b, batch, columns, summed));
    View result = out;
    std::shared_ptr<Storage> apart;
    const std::vector<int> order = order_of(labels.out, batch, rows, columns);
    apart = gpu.allocate(out.layout.count() * static_cast<std::int64_t>(size_of(out.dtype)));
    result.data = apart->data();
    std::int64_t stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
        result.layout.strides[order[i]] = stride;
        stride *= out.layout.shape[order[i]];
    }
    std::vector<Extent> k;
    const Problem p = problem_of(product::assign_roles(ca.view, cb.view, result, labels), k);
    if (!fits(p, k)) throw ValueError("cuda: a contraction does not become matrices");
    run(gpu, p, ca.view, cb.view, result);
    copy(gpu, result, out);
}

}  // namespace

int detail::nth_algorithm = -1;

const std::string& blas_absent() { return blas().absent; }

bool contract(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels) {
    if (data_type(a.dtype) < 0 || a.dtype != b.dtype || data_type(out.dtype) < 0 || !blas_absent().empty())
        return false;
    const product::AxisRoles roles = product::assign_roles(a, b, out, labels);
    if (out.layout.count() == 0) return true;
    if (roles.summed.count() == 0) {
        fill(gpu, 0, out);
        return true;
    }
    if (SquareGradient g; match(a, b, out, labels, g) && takes(gpu, g)) {
        run(gpu, g);
        return true;
    }
    std::vector<Extent> summed;
    const Problem p = problem_of(roles, summed);
    if (summed.size() <= 1)
        if (const auto small = small_of(p, a, b, out); small && declines(gpu, *small).empty()) {
            run(gpu, *small);
            return true;
        }
    if (fits(p, summed))
        run(gpu, p, a, b, out);
    else
        run_on_copies(gpu, a, b, out, labels);
    return true;
}

}  // namespace tenon::cuda
