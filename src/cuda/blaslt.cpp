#include "cuda/blaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <compare>
#include <map>
#include <mutex>
#include <vector>

#include "base/text.h"
#include "cuda/blas.h"
#include "cuda/driver.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

// Those of the library's declarations that are used here, written after its documentation.
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

enum : int { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };  // cublasLtMatmulDescAttributes_t
enum : std::uint32_t { kPlain = 1, kRelu = 2, kBias = 4 };  // cublasLtEpilogue_t
enum : int { kBatchCount = 5, kBatchOffset = 6 };  // cublasLtMatrixLayoutAttribute_t
// cublasLtMatmulPreferenceAttributes_t
enum : int { kWorkspaceBytes = 1, kAlignmentA = 5, kAlignmentB, kAlignmentC, kAlignmentD };
enum : int { kSplits = 2 };  // cublasLtMatmulAlgoConfigAttributes_t
enum : int { kSums32 = 68, kSums64 = 70, kSums32OfTf32 = 77 };  // cublasComputeType_t

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
    X(check, cublasLtMatmulAlgoCheck,                                                                                 \
      (Handle, Description, MatrixLayout, MatrixLayout, MatrixLayout, MatrixLayout, const Algorithm*, Heuristic*))    \
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

/// The cudaDataType of a dtype for which the library is used; -1 for others.
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

/// Everything that a prepared call depends on.
struct Key {
    std::array<std::int64_t, 20> words;
    auto operator<=>(const Key&) const = default;
};

/// A call with an epilogue, with the algorithm of the same call without one.
struct Fused {
    Description description = nullptr;
    MatrixLayout c = nullptr;
    bool is_taken = false;
};

struct Call {
    Description description = nullptr;
    MatrixLayout a = nullptr, b = nullptr, d = nullptr;
    std::vector<Heuristic> algorithms;  // the preferred one first, then others that give the same bits
    std::map<std::array<std::int64_t, 3>, Fused> fused;  // by epilogue, what is added's leading dimension and alignment
};

constexpr std::size_t kWorkspace = std::size_t{32} << 20;
constexpr std::size_t kMaxAlgorithms = 8;
constexpr std::int64_t kFewRows = 32;
/// Algorithms are timed for products of so many operations. With fewer, the launch dominates; with more, the library's
/// choice is good.
constexpr double kMinFlops = 1e8, kMaxFlops = 5e10;

/// The library on a device. Calls that follow each other in its stream share the workspace.
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

/// Each other branch of a graph has a workspace of its own, since branches run at the same time.
std::shared_ptr<Storage> workspace_of(Gpu& gpu, const Library& l) {
    return gpu.branch() == 0 ? l.workspace : gpu.allocate(kWorkspace);
}

MatrixLayout layout_of(const LtMatrix& x, int type, std::int64_t batch) {
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
    if (address == 0) return 16;
    return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & -address, 16));
}

std::int32_t splits_of(const Heuristic& h) {
    std::int32_t splits = 1;
    std::size_t written = 0;
    blas().algorithm_get(&h.algorithm, kSplits, &splits, sizeof splits, &written);
    return splits;
}

/// Keeps algorithms that give the same bits. On tensor cores, algorithms that do not split the sum over k add in the
/// same order, whatever their tiles. One that splits the sum is kept only if the library prefers it, and then alone.
/// For a few rows it is not kept even then, if the tiles of another algorithm fill half of the device.
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

Description describe(const LtMatrix& x, const LtMatrix& y, int out_type, bool tf32) {
    const Blas& f = blas();
    const bool wide = out_type == 1;
    Description d = nullptr;
    expect(f.describe(&d, wide ? kSums64 : tf32 ? kSums32OfTf32 : kSums32, wide ? 1 : 0), "cublasLtMatmulDescCreate");
    const std::int32_t op_x = x.transposed, op_y = y.transposed;
    expect(f.describe_set(d, kTransposeA, &op_x, sizeof op_x), "cublasLtMatmulDescSetAttribute");
    expect(f.describe_set(d, kTransposeB, &op_y, sizeof op_y), "cublasLtMatmulDescSetAttribute");
    return d;
}

Call prepare(const Library& l, const LtMatrix& x, const LtMatrix& y, const LtMatrix& d, int in_type, int out_type,
             std::int64_t batch, bool tf32) {
    const Blas& f = blas();
    Call c;
    c.description = describe(x, y, out_type, tf32);
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
    c.algorithms.resize(tensor_cores ? kMaxAlgorithms : 1);
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

/// The bytes from a matrix's first element to its last one, over the batch.
std::int64_t span_of(const LtMatrix& x, DType type, std::int64_t batch) {
    const std::int64_t last = (batch - 1) * x.batch_stride + (x.columns - 1) * x.leading + x.rows;
    return last * static_cast<std::int64_t>(size_of(type));
}

/// Where the operands of a product and copies of them are, at the alignment of the originals.
struct OperandSets {
    std::shared_ptr<Storage> copies;
    std::vector<std::pair<const std::byte*, const std::byte*>> sets;  // the originals first
};

/// As many sets of operands, up to four, as it takes for none to be in the L2 still when its turn comes again.
OperandSets operand_sets(Gpu& gpu, const LtMatrix& x, const LtMatrix& y, DType type, std::int64_t batch) {
    constexpr std::int64_t kMostSets = 4, kUnit = 256;
    const auto place = [](std::int64_t bytes) { return (bytes + 2 * kUnit - 1) / kUnit * kUnit; };
    const std::int64_t x_bytes = span_of(x, type, batch), y_bytes = span_of(y, type, batch),
                       bytes = place(x_bytes) + place(y_bytes),
                       sets = std::min(kMostSets, 1 + 2 * gpu.l2_bytes() / bytes);
    OperandSets s{gpu.allocate((sets - 1) * bytes), {{x.data, y.data}}};
    auto* to = static_cast<std::byte*>(s.copies->data());
    const auto copy = [&](const std::byte* from, std::int64_t n) {
        std::byte* const at = to + reinterpret_cast<std::uintptr_t>(from) % kUnit;
        gpu.copy(at, from, n);
        to += place(n);
        return at;
    };
    while (static_cast<std::int64_t>(s.sets.size()) < sets) {
        const std::byte* const x_at = copy(x.data, x_bytes);
        s.sets.emplace_back(x_at, copy(y.data, y_bytes));
    }
    return s;
}

/// The algorithm that is fastest where operands come from memory and products follow each other, as in a network.
/// (Timed one by one, each after the L2 was overwritten, the order of two was another.)
template <class Multiply>
Heuristic fastest(Gpu& gpu, const std::vector<Heuristic>& all, const OperandSets& operands, Multiply&& multiply) {
    constexpr int kRounds = 6;  // of which the first warms up
    constexpr std::size_t kRuns = 4;
    constexpr float kGain = 0.99F;
    Event start(gpu, true), end(gpu, true);
    std::vector<float> times(all.size(), 1e9F);
    for (int round = 0; round < kRounds; ++round)
        for (std::size_t i = 0; i < all.size(); ++i) {
            start.record();
            for (std::size_t k = 0; k < kRuns; ++k) {
                const auto& [x, y] = operands.sets[k % operands.sets.size()];
                multiply(all[i], x, y);
            }
            end.record();
            end.wait();
            if (round > 0) times[i] = std::min(times[i], end.since(start));
        }
    const auto best = std::ranges::min_element(times);
    return *best < kGain * times[0] ? all[static_cast<std::size_t>(best - times.begin())] : all[0];
}

Key key_of(const LtMatrix& x, const LtMatrix& y, const LtMatrix& d, DType in, DType out, std::int64_t batch,
           bool tf32) {
    return {{x.rows,
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
             tf32}};
}

Fused fuse(const Library& l, const Call& c, const LtMatrix& x, const LtMatrix& y, const LtMatrix& d, int type,
           bool tf32, const LtEpilogue& e) {
    const Blas& f = blas();
    Fused made;
    made.description = describe(x, y, type, tf32);
    const std::uint32_t what = e.bias ? (e.relu ? kRelu | kBias : kBias) : e.relu ? kRelu : kPlain;
    expect(f.describe_set(made.description, kEpilogue, &what, sizeof what), "cublasLtMatmulDescSetAttribute");
    if (e.bias)
        expect(f.describe_set(made.description, kBiasPointer, &e.bias, sizeof e.bias),
               "cublasLtMatmulDescSetAttribute");
    LtMatrix addend = d;
    if (e.addend) addend.leading = e.addend_leading;
    made.c = layout_of(addend, type, 1);
    Heuristic result{};
    made.is_taken =
        f.check(l.handle, made.description, c.a, c.b, made.c, c.d, &c.algorithms[0].algorithm, &result) == 0 &&
        result.workspace <= kWorkspace;
    return made;
}

/// Points to the factor 0 or 1 in the type that the library reads.
const void* factor(bool one, DType out) {
    static constexpr float kNarrow[] = {0, 1};
    static constexpr double kWide[] = {0, 1};
    return out == DType::float64 ? static_cast<const void*>(kWide + one) : kNarrow + one;
}

}  // namespace

int detail::nth_algorithm = -1;

const std::string& blas_absent() { return blas().absent; }

bool is_lt_type(DType t) { return data_type(t) >= 0; }

bool multiply(Gpu& gpu, const LtMatrix& x, const LtMatrix& y, const LtMatrix& d, DType in, DType out,
              std::int64_t batch, bool tf32, const LtEpilogue* epilogue) {
    Library& l = library_of(gpu);
    const Key key = key_of(x, y, d, in, out, batch, tf32);
    const Gpu::Scope scope(gpu);
    const std::lock_guard lock(l.mutex);
    auto* target = const_cast<std::byte*>(d.data);
    auto found = l.calls.find(key);
    if (found == l.calls.end())
        found = l.calls.emplace(key, prepare(l, x, y, d, data_type(in), data_type(out), batch, tf32)).first;
    Call& c = found->second;
    const auto run = [&](const Heuristic& h, const std::byte* x_data, const std::byte* y_data) {
        const std::shared_ptr<Storage> workspace = workspace_of(gpu, l);
        expect(blas().multiply(l.handle, c.description, factor(true, out), x_data, c.a, y_data, c.b, factor(false, out),
                               target, c.d, target, c.d, &h.algorithm, workspace->data(), kWorkspace, gpu.stream()),
               "cublasLtMatmul");
    };
    if (detail::nth_algorithm >= 0 && !epilogue) {
        run(c.algorithms[static_cast<std::size_t>(detail::nth_algorithm) % c.algorithms.size()], x.data, y.data);
        return true;
    }
    const double flops = 2.0 * static_cast<double>(batch) * static_cast<double>(d.rows) *
                         static_cast<double>(d.columns) * static_cast<double>(x.transposed ? x.rows : x.columns);
    if (c.algorithms.size() > 1 && !gpu.is_recording()) {
        if (epilogue && epilogue->addend == d.data) return false;  // Timing would overwrite what is added.
        if (flops >= kMinFlops && flops <= kMaxFlops)
            c.algorithms[0] = fastest(gpu, c.algorithms, operand_sets(gpu, x, y, in, batch), run);
        c.algorithms.resize(1);
    }
    if (!epilogue) {
        run(c.algorithms[0], x.data, y.data);
        return true;
    }
    const LtEpilogue& e = *epilogue;
    const std::array<std::int64_t, 3> kind{2 * e.relu + (e.bias != nullptr), e.addend ? e.addend_leading : -1,
                                           std::min(alignment_of(e.bias), alignment_of(e.addend))};
    auto at = c.fused.find(kind);
    if (at == c.fused.end()) at = c.fused.emplace(kind, fuse(l, c, x, y, d, data_type(out), tf32, e)).first;
    const Fused& fused = at->second;
    if (!fused.is_taken) return false;
    if (e.bias)
        expect(blas().describe_set(fused.description, kBiasPointer, &e.bias, sizeof e.bias),
               "cublasLtMatmulDescSetAttribute");
    const std::shared_ptr<Storage> workspace = workspace_of(gpu, l);
    expect(blas().multiply(l.handle, fused.description, factor(true, out), x.data, c.a, y.data, c.b,
                           factor(e.addend != nullptr, out), e.addend ? e.addend : target, fused.c, target, c.d,
                           &c.algorithms[0].algorithm, workspace->data(), kWorkspace, gpu.stream()),
           "cublasLtMatmul");
    return true;
}

}  // namespace tenon::cuda
