#include "product/dense/blocked.h"

#include "base/cpu.h"
#include "base/parallel.h"
#include "product/dense/worker.h"
#include "product/float_environment.h"
#include "tenon/threads.h"

namespace tenon::product::dense {
namespace {

static_assert(kRowPitch == kBlockK && kBlockK % 16 == 0 && kSplitK % kBlockK == 0);

const IsaKernels& kernels_of(Isa isa) {
    switch (isa) {
#if defined(__x86_64__)
        case Isa::avx2:
            return avx2::kKernels;
        case Isa::avx512:
            return avx512::kKernels;
#elif defined(__aarch64__)
        case Isa::neon:
            return neon::kKernels;
#endif
        default:
            return baseline::kKernels;
    }
}

Source source_of(DType t) {
    switch (t) {
        case DType::float16:
            return Source::float16;
        case DType::bfloat16:
            return Source::bfloat16;
        case DType::int8:
            return Source::int8;
        case DType::uint8:
            return Source::uint8;
        case DType::int16:
            return Source::int16;
        case DType::uint16:
            return Source::uint16;
        default:
            return Source::same;
    }
}

template <class T>
StoreTile<T> store_of(DType out) {
    if constexpr (sizeof(T) == 8) {
        return store_tile<T, T>;
    } else if constexpr (std::is_same_v<T, float>) {
        return out == DType::float16    ? store_tile<T, float16>
               : out == DType::bfloat16 ? store_tile<T, bfloat16>
                                        : store_tile<T, float>;
    } else {
        // Narrow integers keep the low bits, whatever their sign.
        return size_of(out) == 1   ? store_tile<T, std::uint8_t>
               : size_of(out) == 2 ? store_tile<T, std::uint16_t>
                                   : store_tile<T, std::uint32_t>;
    }
}

/// Segments as tasks: their sums are kept until all are there.
template <class T>
void run_split(const Plan<T>& plan, Subnormals subnormals) {
    const std::int64_t stride = Worker<T>::tile_size(plan);
    Scratch scratch(static_cast<std::size_t>(plan.tiles() * plan.segments * stride) * sizeof(T));
    T* sums = reinterpret_cast<T*>(scratch.data());
    parallel_for(plan.tiles() * plan.segments, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<T> worker(plan);
        for (std::int64_t i = begin; i < end; ++i)
            worker.run_segment(tile_at(plan, i / plan.segments), i % plan.segments, sums + i * stride);
    });
    const FloatEnvironment environment(subnormals);
    Worker<T> worker(plan);
    for (std::int64_t i = 0; i < plan.tiles(); ++i)
        worker.join_and_store(tile_at(plan, i), sums + i * plan.segments * stride, stride);
}

template <class T>
void run(const Lowered& p, const KernelSet<T>& kernels, bool pairs) {
    Plan<T> plan{};
    plan.p = p;
    plan.kernels = &kernels;
    const Source source = source_of(p.type);
    plan.pack = kernels.pack[static_cast<int>(source)];
    if (p.m <= kDotRows && kernels.dot[static_cast<int>(source)][0]) plan.dot = kernels.dot[static_cast<int>(source)];
    plan.store = store_of<T>(p.out_type);
    plan.same_source = source == Source::same;
    plan.pairs = pairs;
    plan.sums_fit = size_of(p.out_type) == sizeof(T);
    plan.segments = ceil_div(p.k, kSplitK);
    // Sums are exact in the output where it has their type, and need no scratch while one segment is all there is; one
    // block alone is rounded as it is stored.
    plan.in_output = plan.segments == 1 && (plan.sums_fit || p.k <= kBlockK);
    choose_tasks(plan, num_threads());

    const Subnormals subnormals = pairs ? Subnormals::flush : Subnormals::keep;
    if (plan.split_k) return run_split(plan, subnormals);
    const std::int64_t grain = std::max<std::int64_t>(1, plan.tiles() / (8 * num_threads()));
    parallel_for(plan.tiles(), grain, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<T> worker(plan);
        for (std::int64_t i = begin; i < end; ++i) worker.run(tile_at(plan, i));
    });
}

}  // namespace

void contract_blocked(const AxisRoles& roles, const View& a, const View& b, const View& out) {
    const IsaKernels& kernels = kernels_of(isa());
    const Lowered p =
        lower(roles, a, b, out, a.dtype == DType::float64 ? kernels.f64.narrow.nr : kernels.f32.narrow.nr);
    if (p.batches == 0 || p.m == 0 || p.n == 0) return;
    switch (a.dtype) {
        case DType::float64:
            return run(p, kernels.f64, false);
        case DType::bfloat16:
            return run(p, kernels.bf16, true);
        case DType::float16:
        case DType::float32:
            return run(p, kernels.f32, false);
        case DType::int64:
        case DType::uint64:
            return run(p, kernels.u64, false);
        default:
            return run(p, kernels.u32, false);
    }
}

}  // namespace tenon::product::dense
