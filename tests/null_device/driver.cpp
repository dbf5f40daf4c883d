// A CUDA driver, its run-time compiler and cuBLASLt that do nothing and count: memory is the host's, kernels do not
// run. With it the host's side of work on a GPU (recording, look-up, memory, launches) is tested where there is no GPU.
// What they have of each interface is what Tenon calls (src/cuda/driver.h, src/cuda/blaslt.cpp).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "counts.h"

#define NULL_DEVICE_API extern "C" __attribute__((visibility("default")))

NULL_DEVICE_API NullCounts tenon_null_counts;
NullCounts tenon_null_counts{};
NULL_DEVICE_API bool tenon_null_ended;
bool tenon_null_ended = false;
NULL_DEVICE_API int tenon_null_events;
int tenon_null_events = -1;

namespace {

using Handle = void*;
using Address = std::uint64_t;
constexpr int kDone = 0, kInvalid = 1, kOutOfMemory = 2, kDeinitialized = 4;

char something;  // what every handle points to

int give(Handle* h) {
    *h = &something;
    return kDone;
}

/// An H100's.
int attribute(int which) {
    switch (which) {
        case 8:  // shared memory of a block
            return 48 << 10;
        case 16:  // multiprocessors
            return 132;
        case 38:  // bytes of the L2
            return 50 << 20;
        case 75:  // compute capability 9.0
            return 9;
        case 97:  // shared memory of a block that asks for it
            return 227 << 10;
        case 115:  // has memory pools
            return 1;
        default:
            return 0;
    }
}

}  // namespace

// The driver.
NULL_DEVICE_API int cuInit(unsigned) { return kDone; }
NULL_DEVICE_API int cuDriverGetVersion(int* v) { return *v = 13000, kDone; }
NULL_DEVICE_API int cuGetErrorName(int, const char** s) { return *s = "NULL_DEVICE_ERROR", kDone; }
NULL_DEVICE_API int cuGetErrorString(int, const char** s) { return *s = "of the null driver", kDone; }
NULL_DEVICE_API int cuDeviceGetCount(int* n) { return *n = 1, kDone; }
NULL_DEVICE_API int cuDeviceGet(int* device, int i) { return *device = i, kDone; }
NULL_DEVICE_API int cuDeviceGetName(char* name, int bytes, int) { return std::strncpy(name, "null", bytes), kDone; }
NULL_DEVICE_API int cuDeviceGetAttribute(int* v, int which, int) { return *v = attribute(which), kDone; }
NULL_DEVICE_API int cuDeviceTotalMem_v2(std::size_t* n, int) { return *n = std::size_t{1} << 30, kDone; }
NULL_DEVICE_API int cuDevicePrimaryCtxRetain(Handle* h, int) { return give(h); }
NULL_DEVICE_API int cuCtxPushCurrent_v2(Handle) { return tenon_null_ended ? kDeinitialized : kDone; }
NULL_DEVICE_API int cuCtxPopCurrent_v2(Handle* h) { return give(h); }
NULL_DEVICE_API int cuCtxSynchronize() { return kDone; }
NULL_DEVICE_API int cuStreamCreate(Handle* h, unsigned) { return give(h); }
NULL_DEVICE_API int cuStreamSynchronize(Handle) { return kDone; }
NULL_DEVICE_API int cuStreamWaitEvent(Handle, Handle, unsigned) { return kDone; }
NULL_DEVICE_API int cuEventCreate(Handle* h, unsigned) {
    if (tenon_null_events == 0) return kOutOfMemory;
    if (tenon_null_events > 0) --tenon_null_events;
    return give(h);
}
NULL_DEVICE_API int cuEventRecord(Handle, Handle) { return kDone; }
NULL_DEVICE_API int cuEventQuery(Handle) { return kDone; }
NULL_DEVICE_API int cuEventSynchronize(Handle) { return kDone; }
NULL_DEVICE_API int cuEventElapsedTime(float* ms, Handle, Handle) { return *ms = 0, kDone; }
NULL_DEVICE_API int cuEventDestroy_v2(Handle) { return kDone; }
NULL_DEVICE_API int cuMemPoolCreate(Handle* h, const void*) { return give(h); }
NULL_DEVICE_API int cuMemPoolSetAttribute(Handle, int, void*) { return kDone; }
NULL_DEVICE_API int cuMemPoolGetAttribute(Handle, int, void* v) {
    const std::uint64_t none = 0;
    return std::memcpy(v, &none, sizeof none), kDone;
}
NULL_DEVICE_API int cuMemPoolTrimTo(Handle, std::size_t) { return kDone; }
NULL_DEVICE_API int cuMemAllocFromPoolAsync(Address* p, std::size_t bytes, Handle, Handle) {
    ++tenon_null_counts.allocations;
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0) return kOutOfMemory;
    std::memset(memory, 0, bytes);
    return *p = reinterpret_cast<Address>(memory), kDone;
}
NULL_DEVICE_API int cuMemFreeAsync(Address p, Handle) {
    ++tenon_null_counts.frees;
    std::free(reinterpret_cast<void*>(p));
    return kDone;
}
NULL_DEVICE_API int cuMemAllocHost_v2(void** p, std::size_t bytes) {
    ++tenon_null_counts.pinned;
    *p = std::calloc(1, bytes);
    return *p ? kDone : kOutOfMemory;
}
NULL_DEVICE_API int cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t bytes, Handle) {
    ++tenon_null_counts.uploads;
    return std::memcpy(reinterpret_cast<void*>(to), from, bytes), kDone;
}
NULL_DEVICE_API int cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t bytes, Handle) {
    return std::memcpy(to, reinterpret_cast<const void*>(from), bytes), kDone;
}
NULL_DEVICE_API int cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t bytes, Handle) {
    ++tenon_null_counts.copies;
    return std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes), kDone;
}
NULL_DEVICE_API int cuMemsetD8Async(Address to, unsigned char value, std::size_t bytes, Handle) {
    return std::memset(reinterpret_cast<void*>(to), value, bytes), kDone;
}
NULL_DEVICE_API int cuMemsetD32Async(Address to, unsigned value, std::size_t words, Handle) {
    return std::fill_n(reinterpret_cast<unsigned*>(to), words, value), kDone;
}
NULL_DEVICE_API int cuModuleLoadData(Handle* h, const void*) { return give(h); }
NULL_DEVICE_API int cuModuleGetFunction(Handle* h, Handle, const char*) { return give(h); }
NULL_DEVICE_API int cuFuncGetAttribute(int* v, int which, Handle) { return *v = which == 0 ? 1024 : 0, kDone; }
NULL_DEVICE_API int cuFuncSetAttribute(Handle, int, int) { return kDone; }
NULL_DEVICE_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, Handle, int, std::size_t) {
    return *n = 1, kDone;
}
NULL_DEVICE_API int cuOccupancyMaxActiveClusters(int* n, Handle, const void*) { return *n = 8, kDone; }
NULL_DEVICE_API int cuLaunchKernelEx(const void*, Handle, void**, void**) {
    return ++tenon_null_counts.launches, kDone;
}
NULL_DEVICE_API int cuStreamBeginCapture_v2(Handle, int) { return kDone; }
NULL_DEVICE_API int cuStreamEndCapture(Handle, Handle* h) { return give(h); }
NULL_DEVICE_API int cuGraphGetNodes(Handle, Handle*, std::size_t* n) { return *n = 1, kDone; }
NULL_DEVICE_API int cuGraphDestroy(Handle) { return kDone; }
NULL_DEVICE_API int cuGraphInstantiateWithFlags(Handle* h, Handle, unsigned long long) { return give(h); }
NULL_DEVICE_API int cuGraphLaunch(Handle, Handle) { return ++tenon_null_counts.graphs, kDone; }
NULL_DEVICE_API int cuGraphExecDestroy(Handle) { return kDone; }
NULL_DEVICE_API int cuTensorMapEncodeTiled(void* map, int, std::uint32_t, void* at, const std::uint64_t*,
                                           const std::uint64_t*, const std::uint32_t*, const std::uint32_t*, int, int,
                                           int, int) {
    if (reinterpret_cast<std::uintptr_t>(at) % 16 != 0) return ++tenon_null_counts.misaligned, kInvalid;
    return std::memset(map, 0, 128), kDone;
}

// The run-time compiler.
NULL_DEVICE_API int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, kDone; }
NULL_DEVICE_API int nvrtcCreateProgram(Handle* h, const char*, const char*, int, const char* const*,
                                       const char* const*) {
    return give(h);
}
NULL_DEVICE_API int nvrtcDestroyProgram(Handle*) { return kDone; }
NULL_DEVICE_API int nvrtcCompileProgram(Handle, int, const char* const*) { return kDone; }
NULL_DEVICE_API int nvrtcGetCUBINSize(Handle, std::size_t* n) { return *n = 1, kDone; }
NULL_DEVICE_API int nvrtcGetCUBIN(Handle, char* code) { return *code = 0, kDone; }
NULL_DEVICE_API int nvrtcGetProgramLogSize(Handle, std::size_t* n) { return *n = 0, kDone; }
NULL_DEVICE_API int nvrtcGetProgramLog(Handle, char*) { return kDone; }

// cuBLASLt.
NULL_DEVICE_API int cublasLtCreate(Handle* h) { return give(h); }
NULL_DEVICE_API int cublasLtMatmulDescCreate(Handle* h, int, int) { return give(h); }
NULL_DEVICE_API int cublasLtMatmulDescSetAttribute(Handle, int, const void*, std::size_t) { return kDone; }
NULL_DEVICE_API int cublasLtMatmulDescDestroy(Handle) { return kDone; }
NULL_DEVICE_API int cublasLtMatrixLayoutCreate(Handle* h, int, std::uint64_t, std::uint64_t, std::int64_t) {
    return give(h);
}
NULL_DEVICE_API int cublasLtMatrixLayoutSetAttribute(Handle, int, const void*, std::size_t) { return kDone; }
NULL_DEVICE_API int cublasLtMatrixLayoutDestroy(Handle) { return kDone; }
NULL_DEVICE_API int cublasLtMatmulPreferenceCreate(Handle* h) { return give(h); }
NULL_DEVICE_API int cublasLtMatmulPreferenceSetAttribute(Handle, int, const void*, std::size_t) { return kDone; }
NULL_DEVICE_API int cublasLtMatmulPreferenceDestroy(Handle) { return kDone; }
NULL_DEVICE_API int cublasLtMatmulAlgoGetHeuristic(Handle, Handle, Handle, Handle, Handle, Handle, Handle, int,
                                                   void* results, int* found) {
    return std::memset(results, 0, 96), *found = 1, kDone;
}
NULL_DEVICE_API int cublasLtMatmulAlgoCheck(Handle, Handle, Handle, Handle, Handle, Handle, const void*, void*) {
    return kDone;
}
NULL_DEVICE_API int cublasLtMatmulAlgoConfigGetAttribute(const void*, int, void*, std::size_t, std::size_t*) {
    return kDone;
}
NULL_DEVICE_API int cublasLtMatmul(Handle, Handle, const void*, const void*, Handle, const void*, Handle, const void*,
                                   const void*, Handle, void*, Handle, const void*, void*, std::size_t, Handle) {
    return ++tenon_null_counts.products, kDone;
}
