// Instructions of compute capability 9.0 that CUDA C++ has no names for: barriers in shared memory that count bytes,
// the bulk tensor copy engine, clusters, and matrix products of a warpgroup (PTX ISA 8.0, sections 9.7.8 to 9.7.15).
// Addresses of shared memory are 32 bits wide; `matrix.16` and `line` are of bf16 elements.
#pragma once

#include <cstdint>

using std::uint16_t;
using std::uint32_t;
using std::uint64_t;

/// A condition that the compiler knows: of a loop's last turn, which leaves no products running.
template <bool v>
struct Constant {
    __device__ constexpr operator bool() const { return v; }
};

struct alignas(64) TensorMap {
    uint64_t words[16];
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Barriers. A phase ends when all arrivals and all announced bytes are there; waiting is for the phase of a parity.

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
/// After the last barrier_init and before __syncthreads.
__device__ __forceinline__ void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
}
/// Arrives, and announces bytes.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
    uint32_t over;
    do {
        asm volatile(
            "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
            : "=r"(over)
            : "r"(barrier), "r"(parity)
            : "memory");
    } while (!over);
}

/// One of some buffers in turn, and the parity of the barrier that says that it is full.
struct Turn {
    uint32_t slot = 0, parity = 0;
    __device__ __forceinline__ void next(uint32_t buffers) {
        if (++slot == buffers) slot = 0, parity ^= 1;
    }
};

// Clusters.

__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// The two halves of that.
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
/// The same place in the shared memory of the cluster's block `rank`.
__device__ __forceinline__ uint32_t at_peer(uint32_t address, uint32_t rank) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
/// 16 bytes of a peer.
__device__ __forceinline__ void load_at_peer(uint32_t (&v)[4], uint32_t from) {
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(from)
                 : "memory");
}
/// 16 bytes to a peer, which count at its barrier.
__device__ __forceinline__ void store_at_peer(uint32_t to, const uint32_t (&v)[4], uint32_t barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(barrier)
                 : "memory");
}
/// Orders nothing: for telling a peer that what was read may be overwritten. (With release semantics the same
/// instruction waits for all memory operations of the thread.)
__device__ __forceinline__ void arrive_at_peer(uint32_t barrier) {
    asm volatile("mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// The copy engine. What ordinary stores wrote to shared memory it reads after fence_copies and a barrier.

__device__ __forceinline__ uint64_t evict_first() {
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
__device__ __forceinline__ uint64_t evict_normal() {
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
__device__ __forceinline__ uint64_t evict_last() {
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
__device__ __forceinline__ void load_box(uint32_t to, const TensorMap* map, uint32_t barrier, int a, int b, int c,
                                         uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
        "[%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c), "l"(policy)
        : "memory");
}
/// Towards the L2 alone.
__device__ __forceinline__ void prefetch_box(const TensorMap* map, int a, int b, int c) {
    asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(a), "r"(b), "r"(c)
                 : "memory");
}
__device__ __forceinline__ void load_box(uint32_t to, const TensorMap* map, uint32_t barrier, int a, int b, int c,
                                         int d, uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
        "[%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c), "r"(d), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void load_box(uint32_t to, const TensorMap* map, uint32_t barrier, int a, int b, int c,
                                         int d, int e, uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
        "[%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "l"(policy)
        : "memory");
}
/// To the same place of the cluster's blocks whose bits `blocks` has, and their barriers.
__device__ __forceinline__ void load_box_to(uint16_t blocks, uint32_t to, const TensorMap* map, uint32_t barrier, int a,
                                            int b, int c, uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
        "[%0], [%1, {%3, %4, %5}], [%2], %6, %7;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(a), "r"(b), "r"(c), "h"(blocks), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void load_bytes(uint32_t to, const void* from, int bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
__device__ __forceinline__ void store_box(const TensorMap* map, uint32_t from, int a, int b, int c, uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%2, %3, %4}], [%1], %5;" ::"l"(map),
        "r"(from), "r"(a), "r"(b), "r"(c), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void store_box(const TensorMap* map, uint32_t from, int a, int b, int c, int d,
                                          uint64_t policy) {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%2, %3, %4, %5}], [%1], %6;" ::"l"(
            map),
        "r"(from), "r"(a), "r"(b), "r"(c), "r"(d), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void store_bytes(void* to, uint32_t from, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from), "r"(bytes)
                 : "memory");
}
/// The thread's stores since the last commit are a group.
__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until all but the newest `kept` groups have read their sources.
template <int kept>
__device__ __forceinline__ void stores_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kept) : "memory");
}
/// Until all but the newest `kept` groups are written.
template <int kept = 0>
__device__ __forceinline__ void stores_done() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kept) : "memory");
}
__device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// The same of global memory.
__device__ __forceinline__ void fence_global_copies() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Matrix products of a warpgroup; print_wgmma (cuda/wgmma.h) prints the instruction itself.

enum class Swizzle { bytes128 = 1, bytes64 = 2 };
/// Of a matrix in shared memory: groups of 8 lines `stride` bytes apart, lines as wide as the swizzle.
__device__ __forceinline__ uint64_t descriptor(uint32_t address, int stride, Swizzle swizzle) {
    return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | uint64_t{1} << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(swizzle) << 62;
}
/// Of what lies `bytes` further, a multiple of 16.
__device__ __forceinline__ uint64_t advanced(uint64_t matrix, int bytes) {
    return matrix + static_cast<uint64_t>(bytes >> 4);
}
/// Before the first product of a batch, once its registers are written.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The products since the last commit are a group.
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until all but the newest `kept` groups are done.
template <int kept>
__device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kept) : "memory");
}
__device__ __forceinline__ void products_end() {
    products_commit();
    products_wait<0>();
}

// Kernels one after the other (Launch::overlaps_previous).

/// The next kernel may start where blocks of this one have ended: it waits before it reads or writes what others do.
__device__ __forceinline__ void let_next_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
/// Until all kernels before this one are done.
__device__ __forceinline__ void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Registers of a thread, which a warpgroup takes from what others gave back.

/// A value that all threads of a warp have, so that the compiler knows.
__device__ __forceinline__ uint32_t uniform(uint32_t v) { return __shfl_sync(~0u, v, 0); }
/// A value to be kept in a register. (The compiler reads a special register again where it needs what follows from it,
/// and such a read waits for the stores to peers that are on the way.)
__device__ __forceinline__ uint32_t pinned(uint32_t v) {
    asm volatile("mov.b32 %0, %0;" : "+r"(v));
    return v;
}

template <int n>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

/// Waits for the 128 threads of a warpgroup.
__device__ __forceinline__ void group_sync(int group) { asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory"); }

// 8 x 8 matrices of 16-bit elements between registers and shared memory: a thread gives the address of one line.

template <bool transposed>
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t line) {
    if constexpr (transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(line)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(line)
                     : "memory");
}
template <bool transposed>
__device__ __forceinline__ void store_matrices(uint32_t line, const uint32_t (&r)[4]) {
    if constexpr (transposed)
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(line), "r"(r[0]),
                     "r"(r[1]), "r"(r[2]), "r"(r[3])
                     : "memory");
    else
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(line), "r"(r[0]),
                     "r"(r[1]), "r"(r[2]), "r"(r[3])
                     : "memory");
}
/// Two sums rounded to bf16, the first in the lower half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
