// What dlpack_test.py calls: C functions over tenon/dlpack.h.
#include <tenon/dlpack.h>
#include <tenon/functions.h>

#include <exception>
#include <string>

namespace {

std::string error;

/// f(), or null with the message in `error` if it throws.
template <class F>
void* caught(F&& f) {
    try {
        return f();
    } catch (const std::exception& e) {
        error = e.what();
        return nullptr;
    }
}

tenon::Tensor result(const tenon::Tensor& x) { return tenon::astype(x * 2 + 1, x.dtype()); }

tenon::DlpackOptions options_of(std::int64_t stream) {
    tenon::DlpackOptions o;
    if (stream != 0) o.stream = stream;
    return o;
}

}  // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

/// 2 x + 1 of an imported tensor, exported; `stream` is the consumer's, 0 where it names none.
EXPORT void* peer_compute(DLManagedTensorVersioned* x, std::int64_t stream) {
    return caught([&] { return tenon::to_dlpack(result(tenon::from_dlpack(x)), options_of(stream)); });
}
EXPORT void* peer_compute_unversioned(DLManagedTensor* x, std::int64_t stream) {
    return caught([&] { return tenon::to_dlpack_unversioned(result(tenon::from_dlpack(x)), options_of(stream)); });
}
/// The tensor itself.
EXPORT void* peer_pass(DLManagedTensorVersioned* x, std::int64_t stream) {
    return caught([&] { return tenon::to_dlpack(tenon::from_dlpack(x), options_of(stream)); });
}
/// 0 for the CPU.
EXPORT std::int64_t peer_stream(int on_gpu) {
    return tenon::dlpack_stream(on_gpu ? tenon::Device::cuda(0) : tenon::Device::cpu()).value_or(0);
}
EXPORT const char* peer_error() { return error.c_str(); }
}
