#include "cuda/launch.h"

#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

struct Configured {
    LaunchAttribute attributes[3];
    LaunchConfiguration configuration;
};

void configure(const Gpu& gpu, const Launch& how, Configured& c) {
    std::uint32_t n = 0;
    if (how.cluster.count() > 1) {
        LaunchAttribute& a = c.attributes[n++];
        a.id = LaunchAttribute::cluster;
        a.value[0] = how.cluster.x;
        a.value[1] = how.cluster.y;
        a.value[2] = how.cluster.z;
    }
    if (how.overlaps_previous && gpu.major() >= 9) {
        LaunchAttribute& a = c.attributes[n++];
        a.id = LaunchAttribute::programmatic_serialization;
        a.value[0] = 1;
    }
    if (how.cooperative) {
        LaunchAttribute& a = c.attributes[n++];
        a.id = LaunchAttribute::cooperative;
        a.value[0] = 1;
    }
    c.configuration = {{how.grid.x, how.grid.y, how.grid.z},
                       {how.block.x, how.block.y, how.block.z},
                       how.shared_bytes,
                       gpu.stream(),
                       n ? c.attributes : nullptr,
                       n};
}

/// CUtensorMapDataType.
int tensor_map_type(DType dtype) {
    switch (dtype) {
        case DType::boolean:
        case DType::int8:
        case DType::uint8:
            return 0;
        case DType::int16:
        case DType::uint16:
            return 1;
        case DType::uint32:
            return 2;
        case DType::int32:
            return 3;
        case DType::uint64:
            return 4;
        case DType::int64:
            return 5;
        case DType::float16:
            return 6;
        case DType::float32:
            return 7;
        case DType::float64:
            return 8;
        case DType::bfloat16:
            return 9;
        default:
            throw TypeError(text("cuda: no tensor maps of ", tenon::name(dtype)));
    }
}

}  // namespace

TensorMap encode(DType dtype, void* data, const TensorMapLayout& layout) {
    const std::size_t rank = layout.extents.size();
    if (rank < 1 || rank > 5 || layout.strides.size() != rank - 1 || layout.box.size() != rank)
        throw ValueError(text("cuda: a tensor map of ", rank, " extents, ", layout.strides.size(),
                              " strides and a box of ", layout.box.size()));
    const Driver& d = driver();
    if (!d.encode_tiled) throw ValueError("cuda: the driver has no tensor maps (CUDA 12 has)");
    const Gpu::Scope scope(Gpu::at(0));  // the driver asks for a context, of any device
    const std::uint32_t steps[5] = {1, 1, 1, 1, 1};
    TensorMap map;
    check(d.encode_tiled(&map, tensor_map_type(dtype), static_cast<std::uint32_t>(rank), data, layout.extents.data(),
                         layout.strides.data(), layout.box.data(), steps, 0, static_cast<int>(layout.swizzle),
                         layout.l2_promotion, 0),
          "cuTensorMapEncodeTiled");
    return map;
}

namespace detail {

void launch(Gpu& gpu, const Kernel& kernel, const Launch& how, void** arguments) {
    if (how.grid.count() == 0) return;
    Configured c;
    Launch now = how;
    now.overlaps_previous = !gpu.take_join() && how.overlaps_previous;
    configure(gpu, now, c);
    const Gpu::Scope scope(gpu);
    check(driver().launch(&c.configuration, kernel.function, arguments, nullptr), "cuLaunchKernelEx");
}

}  // namespace detail

int blocks_per_multiprocessor(const Gpu& gpu, const Kernel& kernel, int threads, int shared_bytes) {
    const Gpu::Scope scope(gpu);
    int n = 0;
    check(driver().blocks_per_multiprocessor(&n, kernel.function, threads, static_cast<std::size_t>(shared_bytes)),
          "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    return n;
}

int clusters(const Gpu& gpu, const Kernel& kernel, const Launch& how) {
    const Driver& d = driver();
    if (!d.clusters) return 0;
    const Dimensions& k = how.cluster;
    using Key = std::tuple<FunctionHandle, std::array<std::uint32_t, 3>, std::uint64_t, std::uint32_t>;
    // Never destroyed: code that runs while a thread or the program ends may compute.
    static auto& mutex = *new std::mutex;
    static auto& known = *new std::map<Key, int>;
    const std::lock_guard lock(mutex);
    const Key key{kernel.function, std::array{k.x, k.y, k.z}, how.block.count(), how.shared_bytes};
    if (const auto at = known.find(key); at != known.end()) return at->second;
    Configured c;
    configure(gpu, how, c);
    const Gpu::Scope scope(gpu);
    int n = 0;
    check(d.clusters(&n, kernel.function, &c.configuration), "cuOccupancyMaxActiveClusters");
    return known[key] = n;
}

}  // namespace tenon::cuda
