// The functions of CUDA's driver and of its run-time compiler that Tenon calls, found at first use by dlopen: nothing
// of CUDA is needed to build, and a machine without it reports what is missing. The declarations are ours, after the
// documentation of the CUDA driver API and of NVRTC, whose binary interfaces are stable: types are pointers and
// integers, and a versioned name (cuMemAlloc_v2) keeps its meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tenon::cuda {

/// Opaque handles, as the driver gives them.
using ContextHandle = struct ContextTag*;
using StreamHandle = struct StreamTag*;
using EventHandle = struct EventTag*;
using ModuleHandle = struct ModuleTag*;
using FunctionHandle = struct FunctionTag*;
using PoolHandle = struct PoolTag*;
using ProgramHandle = struct ProgramTag*;
using GraphHandle = struct GraphTag*;
using GraphNodeHandle = struct GraphNodeTag*;
using GraphExecHandle = struct GraphExecTag*;

using Result = int;  // CUresult, nvrtcResult; 0 is success
using DeviceNumber = int;
using DevicePointer = std::uint64_t;

inline constexpr Result kOutOfMemory = 2;
inline constexpr Result kDeinitialized = 4;  // the driver is shutting down
inline constexpr Result kNotReady = 600;

/// CUlaunchAttribute: a number, and a value of 64 bytes.
struct LaunchAttribute {
    enum Id : std::uint32_t { cooperative = 2, cluster = 4, programmatic_serialization = 6 };
    std::uint32_t id = 0;
    std::uint32_t padding = 0;
    std::uint32_t value[16]{};
};
static_assert(sizeof(LaunchAttribute) == 72);

/// CUlaunchConfig.
struct LaunchConfiguration {
    std::uint32_t grid[3];
    std::uint32_t block[3];
    std::uint32_t shared_bytes;
    StreamHandle stream;
    LaunchAttribute* attributes;
    std::uint32_t attribute_count;
};
static_assert(sizeof(LaunchConfiguration) == 56);

/// CUmemPoolProps.
struct PoolProperties {
    std::uint32_t allocation_type = 1;  // pinned: device memory
    std::uint32_t handle_types = 0;
    std::uint32_t location_type = 1;  // a device
    std::int32_t location = 0;
    void* security = nullptr;
    std::size_t most_bytes = 0;
    std::uint16_t usage = 0;
    std::uint8_t reserved[54]{};
};
static_assert(sizeof(PoolProperties) == 88);

enum class DeviceAttribute : int {
    shared_bytes_per_block = 8,
    multiprocessors = 16,
    l2_bytes = 38,
    capability_major = 75,
    capability_minor = 76,
    shared_bytes_per_block_optin = 97,
    memory_pools = 115,
};

enum class FunctionAttribute : int {
    threads_per_block = 0,
    shared_bytes = 1,
    local_bytes = 3,
    registers = 4,
    dynamic_shared_bytes = 8,
    nonportable_cluster = 14,
};

enum class PoolAttribute : int {
    release_threshold = 4,
    reserved_now = 5,
    used_now = 7,
};

// X(member, exported name, parameters). All return a Result.
#define TENON_CUDA_FUNCTIONS(X)                                                                             \
    X(init, cuInit, (unsigned))                                                                             \
    X(driver_version, cuDriverGetVersion, (int*))                                                           \
    X(error_name, cuGetErrorName, (Result, const char**))                                                   \
    X(error_text, cuGetErrorString, (Result, const char**))                                                 \
    X(device_count, cuDeviceGetCount, (int*))                                                               \
    X(device_get, cuDeviceGet, (DeviceNumber*, int))                                                        \
    X(device_name, cuDeviceGetName, (char*, int, DeviceNumber))                                             \
    X(device_attribute, cuDeviceGetAttribute, (int*, DeviceAttribute, DeviceNumber))                        \
    X(device_bytes, cuDeviceTotalMem_v2, (std::size_t*, DeviceNumber))                                      \
    X(retain_context, cuDevicePrimaryCtxRetain, (ContextHandle*, DeviceNumber))                             \
    X(push_context, cuCtxPushCurrent_v2, (ContextHandle))                                                   \
    X(pop_context, cuCtxPopCurrent_v2, (ContextHandle*))                                                    \
    X(stream_create, cuStreamCreate, (StreamHandle*, unsigned))                                             \
    X(stream_synchronize, cuStreamSynchronize, (StreamHandle))                                              \
    X(stream_wait, cuStreamWaitEvent, (StreamHandle, EventHandle, unsigned))                                \
    X(context_synchronize, cuCtxSynchronize, ())                                                            \
    X(event_create, cuEventCreate, (EventHandle*, unsigned))                                                \
    X(event_record, cuEventRecord, (EventHandle, StreamHandle))                                             \
    X(event_query, cuEventQuery, (EventHandle))                                                             \
    X(event_synchronize, cuEventSynchronize, (EventHandle))                                                 \
    X(event_elapsed, cuEventElapsedTime, (float*, EventHandle, EventHandle))                                \
    X(event_destroy, cuEventDestroy_v2, (EventHandle))                                                      \
    X(pool_create, cuMemPoolCreate, (PoolHandle*, const PoolProperties*))                                   \
    X(pool_set, cuMemPoolSetAttribute, (PoolHandle, PoolAttribute, void*))                                  \
    X(pool_get, cuMemPoolGetAttribute, (PoolHandle, PoolAttribute, void*))                                  \
    X(pool_trim, cuMemPoolTrimTo, (PoolHandle, std::size_t))                                                \
    X(allocate_from_pool, cuMemAllocFromPoolAsync, (DevicePointer*, std::size_t, PoolHandle, StreamHandle)) \
    X(free_async, cuMemFreeAsync, (DevicePointer, StreamHandle))                                            \
    X(host_allocate, cuMemAllocHost_v2, (void**, std::size_t))                                              \
    X(copy_to_device, cuMemcpyHtoDAsync_v2, (DevicePointer, const void*, std::size_t, StreamHandle))        \
    X(copy_to_host, cuMemcpyDtoHAsync_v2, (void*, DevicePointer, std::size_t, StreamHandle))                \
    X(copy_on_device, cuMemcpyDtoDAsync_v2, (DevicePointer, DevicePointer, std::size_t, StreamHandle))      \
    X(fill_bytes, cuMemsetD8Async, (DevicePointer, unsigned char, std::size_t, StreamHandle))               \
    X(fill_words, cuMemsetD32Async, (DevicePointer, unsigned, std::size_t, StreamHandle))                   \
    X(module_load, cuModuleLoadData, (ModuleHandle*, const void*))                                          \
    X(module_function, cuModuleGetFunction, (FunctionHandle*, ModuleHandle, const char*))                   \
    X(function_get, cuFuncGetAttribute, (int*, FunctionAttribute, FunctionHandle))                          \
    X(function_set, cuFuncSetAttribute, (FunctionHandle, FunctionAttribute, int))                           \
    X(blocks_per_multiprocessor, cuOccupancyMaxActiveBlocksPerMultiprocessor,                               \
      (int*, FunctionHandle, int, std::size_t))                                                             \
    X(launch, cuLaunchKernelEx, (const LaunchConfiguration*, FunctionHandle, void**, void**))

// Since CUDA 12, on whose drivers alone clusters and the bulk tensor copy engine are used, and what is done without
// where a driver lacks it (graphs): may be null.
#define TENON_CUDA_OPTIONAL_FUNCTIONS(X)                                                                   \
    X(begin_capture, cuStreamBeginCapture_v2, (StreamHandle, int))                                         \
    X(end_capture, cuStreamEndCapture, (StreamHandle, GraphHandle*))                                       \
    X(graph_nodes, cuGraphGetNodes, (GraphHandle, GraphNodeHandle*, std::size_t*))                         \
    X(graph_destroy, cuGraphDestroy, (GraphHandle))                                                        \
    X(graph_instantiate, cuGraphInstantiateWithFlags, (GraphExecHandle*, GraphHandle, unsigned long long)) \
    X(graph_launch, cuGraphLaunch, (GraphExecHandle, StreamHandle))                                        \
    X(graph_exec_destroy, cuGraphExecDestroy, (GraphExecHandle))                                           \
    X(clusters, cuOccupancyMaxActiveClusters, (int*, FunctionHandle, const LaunchConfiguration*))          \
    X(encode_tiled, cuTensorMapEncodeTiled,                                                                \
      (void*, int, std::uint32_t, void*, const std::uint64_t*, const std::uint64_t*, const std::uint32_t*, \
       const std::uint32_t*, int, int, int, int))

#define TENON_NVRTC_FUNCTIONS(X)                                                               \
    X(version, nvrtcVersion, (int*, int*))                                                     \
    X(create, nvrtcCreateProgram,                                                              \
      (ProgramHandle*, const char*, const char*, int, const char* const*, const char* const*)) \
    X(destroy, nvrtcDestroyProgram, (ProgramHandle*))                                          \
    X(compile, nvrtcCompileProgram, (ProgramHandle, int, const char* const*))                  \
    X(cubin_size, nvrtcGetCUBINSize, (ProgramHandle, std::size_t*))                            \
    X(cubin, nvrtcGetCUBIN, (ProgramHandle, char*))                                            \
    X(log_size, nvrtcGetProgramLogSize, (ProgramHandle, std::size_t*))                         \
    X(log, nvrtcGetProgramLog, (ProgramHandle, char*))

#define TENON_DECLARE(member, symbol, parameters) Result(*member) parameters = nullptr;

/// The driver's functions, once `driver_absent()` is empty.
struct Driver {
    TENON_CUDA_FUNCTIONS(TENON_DECLARE)
    TENON_CUDA_OPTIONAL_FUNCTIONS(TENON_DECLARE)
    int version = 0;  // 12080 is CUDA 12.8
};

/// The compiler's, once `compiler_absent()` is empty.
struct Nvrtc {
    TENON_NVRTC_FUNCTIONS(TENON_DECLARE)
    const char* (*error_text)(Result) = nullptr;
    int major = 0, minor = 0;
};

#undef TENON_DECLARE

/// Why there is no driver; empty if there is one. The first call loads libcuda.so.1 and initialises it, once in a
/// process; a forked child cannot use what its parent initialised, and gets that as the reason.
const std::string& driver_absent();
/// The functions. Throws ValueError with the reason if there are none.
const Driver& driver();

/// Why there is no run-time compiler. Looked for in $TENON_NVRTC (a file), then as libnvrtc.so.13, .12 and libnvrtc.so
/// by the loader's own rules, then in the usual places of the CUDA toolkit.
const std::string& compiler_absent();
const Nvrtc& nvrtc();

/// Opens the first library that there is: `variable` of the environment names a file that is tried alone; then each of
/// `names` by the loader's rules; then each in the toolkit's usual directories. Null, with `tried` saying what was,
/// where none is found. A library is never closed.
void* open_library(const char* variable, const char* const* names, std::size_t count, std::string& tried);

/// Throws the error of `result`: MemoryError if memory is short, otherwise ValueError "cuda: WHAT: CUDA_ERROR_...,
/// text".
void check(Result result, const char* what);

}  // namespace tenon::cuda
