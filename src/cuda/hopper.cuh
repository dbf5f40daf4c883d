// Instructions of compute capability 9.0 for which CUDA C++ has no functions: barriers in shared memory that count
// bytes (mbarrier), the Tensor Memory Accelerator (here "the copy engine"), clusters, and matrix products of a
// warpgroup (PTX ISA 8.0, sections 9.7.8 to 9.7.15).
//
// Addresses of shared memory are 32 bits wide. The elements of matrices have 16 bits.
#pragma once

#include <cstdint>

using std::uint16_t;
using std::uint32_t;
using std::uint64_t;

/// A condition that is known at compile time, such as whether a loop's iteration is followed by another one. In the
/// last iteration no products may be left in flight.
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

// Barriers. A phase completes when all expected arrivals have been made and all expected bytes have been copied. A
// thread waits for the phase of a given parity; the first phase has parity 0.

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
/// Makes the barriers visible to the cluster and to the copy engine. The thread that made them calls this after the
/// last barrier_init and before the block's __syncthreads.
__device__ __forceinline__ void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
}
/// Arrives, and makes the current phase expect `bytes` more bytes of copies.
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

/// The current one of several buffers that are used in rotation, and the parity for which its "full" barrier is waited.
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
/// The two halves of cluster_sync.
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
/// The address in the cluster's shared memory window that corresponds to `address` in block `rank`.
__device__ __forceinline__ uint32_t at_peer(uint32_t address, uint32_t rank) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
/// Loads 16 bytes from another block of the cluster (a peer); `from` comes from at_peer.
__device__ __forceinline__ void load_at_peer(uint32_t (&v)[4], uint32_t from) {
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(from)
                 : "memory");
}
/// Stores 16 bytes asynchronously in a peer's shared memory. They count as bytes at `barrier`, which is the peer's,
/// too.
__device__ __forceinline__ void store_at_peer(uint32_t to, const uint32_t (&v)[4], uint32_t barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(barrier)
                 : "memory");
}
/// Arrives at a peer's barrier with relaxed semantics, which is enough to say that a buffer has been read and may be
/// overwritten. With release semantics the instruction would wait for all earlier memory operations of the thread.
__device__ __forceinline__ void arrive_at_peer(uint32_t barrier) {
    asm volatile("mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// The copy engine. Data that threads store in shared memory become visible to it after each of them has called
// fence_copies, followed by a barrier. The evict_ functions make cache policies for the L2.

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
/// Prefetches a box into the L2.
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
/// Loads a box into the shared memory of each of the cluster's blocks whose bit is set in `blocks`. In each of them it
/// goes to the same offset, and its bytes count at that block's own barrier.
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
/// Makes one bulk group of the thread's store_box and store_bytes since the last commit.
__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until all but the newest `kept` groups of the thread have read their sources in shared memory.
template <int kept>
__device__ __forceinline__ void stores_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kept) : "memory");
}
/// Waits until all but the newest `kept` groups of the thread have written their results.
template <int kept = 0>
__device__ __forceinline__ void stores_done() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kept) : "memory");
}
__device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// fence_copies for data in global memory.
__device__ __forceinline__ void fence_global_copies() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Matrix products of a warpgroup; print_wgmma (cuda/wgmma.h) prints the instruction itself.

enum class Swizzle { bytes128 = 1, bytes64 = 2 };
/// The descriptor of a matrix in shared memory. Its lines are as wide as the swizzle, and groups of 8 lines are
/// `stride` bytes apart.
__device__ __forceinline__ uint64_t descriptor(uint32_t address, int stride, Swizzle swizzle) {
    return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | uint64_t{1} << 16 |
           static_cast<uint64_t>(stride >> 4) << 32 | static_cast<uint64_t>(swizzle) << 62;
}
/// The descriptor of the matrix that starts `bytes` further on, a multiple of 16.
__device__ __forceinline__ uint64_t advanced(uint64_t matrix, int bytes) {
    return matrix + static_cast<uint64_t>(bytes >> 4);
}
/// Orders the warpgroup's earlier accesses to registers before the products that follow. Called before the first
/// product of a batch, after its operands and sums in registers are written.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Makes one group of the products since the last commit.
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until all but the newest `kept` groups of products are done.
template <int kept>
__device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kept) : "memory");
}
__device__ __forceinline__ void products_end() {
    products_commit();
    products_wait<0>();
}

// Programmatic dependent launch (Launch::overlaps_previous).

/// Lets the next kernel's blocks start as soon as there is room. They call wait_for_previous before they access memory
/// that earlier kernels read or write.
__device__ __forceinline__ void let_next_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
/// Waits until all earlier kernels are done.
__device__ __forceinline__ void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Registers.

/// A value that is the same in all threads of a warp; the shuffle lets the compiler know that.
__device__ __forceinline__ uint32_t uniform(uint32_t v) { return __shfl_sync(~0u, v, 0); }
/// A value that the compiler must keep in a register. Otherwise it reads a special register such as threadIdx again
/// wherever it needs the value, and each such read waits for the stores to peers that are in flight.
__device__ __forceinline__ uint32_t pinned(uint32_t v) {
    asm volatile("mov.b32 %0, %0;" : "+r"(v));
    return v;
}
template <class T>
__device__ __forceinline__ T* pinned(T* p) {
    asm volatile("mov.b64 %0, %0;" : "+l"(p));
    return p;
}
/// True in one thread of the warp, all of whose threads call this. What that thread alone does then takes its addresses
/// from registers of the warp.
__device__ __forceinline__ bool elected() {
    uint32_t one;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(one));
    return one != 0;
}

/// Lowers the number of registers of each thread of the warpgroup to n; other warpgroups of the block can take the
/// rest.
template <int n>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
/// Raises the number of registers of each thread of the warpgroup to n, once other warpgroups have given up enough.
template <int n>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

/// Synchronizes the 128 threads of a warpgroup. Barrier 0 is __syncthreads.
__device__ __forceinline__ void group_sync(int group) { asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory"); }

// Copies of four 8 x 8 matrices of 16-bit elements between shared memory and registers (ldmatrix, stmatrix). Each
// thread gives the address of one line; threads 8 i to 8 i + 7 give those of matrix i.

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
/// Two numbers rounded to bfloat16, `low` in the lower half of the word.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
