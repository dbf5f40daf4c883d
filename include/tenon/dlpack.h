// Tensors shared with other libraries, in both directions, without a copy: DLPack 1.0 (https://dmlc.github.io/dlpack),
// as the Python Array API standard uses it. Include dlpack.h to look into its structures.
//
// ```cpp
// const Tensor x = arange(6.0f);
// const Tensor y = from_dlpack(to_dlpack(x));  // what `y = torch.from_dlpack(x)` does, and back
// assert(y.host().data == x.host().data);
// ```
//
// *Memory.* An exported tensor's memory stays until the consumer calls the deleter, and is never written by Tenon
// meanwhile; the consumer must not write it either, since other tensors may share it (the flag READ_ONLY says so),
// unless it asked for a copy. Memory that is imported is never written by Tenon, must not change while a tensor lives
// that uses it, and is given back by its deleter when the last of these goes.
//
// *Streams.* On a CUDA device both sides work in streams of their own. `to_dlpack` lets the consumer's stream wait for
// the tensor; `dlpack_stream` is the stream that a producer is told, so that Tenon's reading waits for it. When an
// exported tensor is deleted, its memory is used again after what the consumer's default streams hold by then, or,
// where it named a stream of its own, after all of the device's work; when imported memory is given back, Tenon is done
// with it.
#pragma once

#include <cstdint>
#include <optional>

#include "tenon/device.h"
#include "tenon/tensor.h"

struct DLManagedTensor;
struct DLManagedTensorVersioned;

namespace tenon {

struct DlpackOptions {
    /// The consumer's, as `__dlpack__(stream=...)` has it, for tensors of a CUDA device: 1 the legacy default stream, 2
    /// the thread's default stream, above a cudaStream_t as a number; -1: nobody waits. None: 1.
    std::optional<std::int64_t> stream = {};
    /// The consumer gets memory of its own, which it may write.
    bool copy = false;
};

/// The tensor, computed, as the consumer's property: it calls the deleter when it is done. All dtypes except complex
/// ones; strides are kept. Throws ValueError for a stream below -1, or 0, whose meaning is ambiguous; or for any stream
/// with a tensor on the CPU.
TENON_API DLManagedTensorVersioned* to_dlpack(const Tensor& x, const DlpackOptions& options = {});
/// The same for consumers of DLPack before 1.0, which cannot be told that they must not write.
TENON_API DLManagedTensor* to_dlpack_unversioned(const Tensor& x, const DlpackOptions& options = {});

/// A tensor of the producer's memory: on the CPU (and what is pinned for a GPU), or a CUDA device that Tenon can use.
/// The tensor owns `managed` once the call returns; where it throws, nothing has happened to it. Throws ValueError for
/// another major version or device, TypeError for a type that is no DType (lanes, complex, 8-bit floating), ShapeError
/// for extents below 0, more than kMaxRank axes, and elements that lie more bytes apart than fit 63 bits.
TENON_API Tensor from_dlpack(DLManagedTensorVersioned* managed);
TENON_API Tensor from_dlpack(DLManagedTensor* managed);

/// The argument of a producer's `__dlpack__(stream=...)`: the stream in which Tenon works on a CUDA device; none for
/// the CPU.
TENON_API std::optional<std::int64_t> dlpack_stream(Device device);

/// What `__dlpack_device__` answers: DLDeviceType (1 the CPU, 2 CUDA) and the device's number.
struct DlpackDevice {
    std::int32_t type, id;
};
TENON_API DlpackDevice dlpack_device(const Tensor& x);

}  // namespace tenon
