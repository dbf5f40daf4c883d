// DLPack on a device: streams that wait for each other, and memory that is not reused too early.
#include <gtest/gtest.h>

#include <vector>

#include "cuda/device.h"
#include "cuda/gpu_testing.h"
#include "schedule/dlpack_abi.h"
#include "tenon/dlpack.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace tenon {
namespace {

using DlpackGpuTest = cuda::testing::GpuTest;
constexpr Device kGpu = Device::cuda(0);
constexpr std::int64_t kMany = std::int64_t{1} << 26;

Tensor numbers(std::int64_t n) { return (to_device(arange(static_cast<float>(n)), kGpu) + 1).eval(); }

TEST_F(DlpackGpuTest, ThereAndBackIsTheSameMemory) {
    const Tensor x = reshape(numbers(12), {3, 4});
    for (const Tensor& t : {x, transpose(x, {1, 0}), slice(x, {1, 1}, {3, 4}, {1, 2})}) {
        DLManagedTensorVersioned* m = to_dlpack(t);
        EXPECT_EQ(m->dl_tensor.device.device_type, dlpack::kCuda);
        EXPECT_EQ(m->dl_tensor.device.device_id, 0);
        const Tensor back = from_dlpack(m);
        EXPECT_EQ(back.device(), kGpu);
        EXPECT_EQ(back.to<float>(), t.to<float>());
        EXPECT_EQ((back * 2).to<float>(), (t * 2).to<float>());
    }
    EXPECT_EQ(dlpack_device(x).type, 2);
    EXPECT_GT(dlpack_stream(kGpu).value(), 2);
    EXPECT_THROW(to_dlpack(x, {.stream = 0}), ValueError);
    EXPECT_THROW(to_dlpack(x, {.stream = -2}), ValueError);
}

TEST_F(DlpackGpuTest, TheConsumersStreamWaits) {
    // A consumer that reads in the legacy default stream as soon as it has the tensor, without a wait of its own.
    cuda::Gpu& gpu = cuda::Gpu::at(0);
    const auto& d = cuda::driver();
    for (int i = 0; i < 5; ++i) {
        Tensor x = (to_device(zeros({kMany}), kGpu) + 1).eval();
        for (int k = 0; k < 20; ++k) x = x + 1;  // some milliseconds
        DLManagedTensorVersioned* m = to_dlpack(x, {.stream = 1});
        x = Tensor();
        std::vector<float> last(1);
        const cuda::Gpu::Scope scope(gpu);
        const auto at = reinterpret_cast<cuda::DevicePointer>(m->dl_tensor.data) + 4 * (kMany - 1);
        cuda::check(d.copy_to_host(last.data(), at, 4, reinterpret_cast<cuda::StreamHandle>(1)), "copy");
        m->deleter(m);  // before the copy is done
        const Tensor other = (to_device(zeros({kMany}), kGpu) + 5).eval();  // would overwrite it
        cuda::check(d.stream_synchronize(reinterpret_cast<cuda::StreamHandle>(1)), "wait");
        EXPECT_EQ(last[0], 21);
    }
}

TEST_F(DlpackGpuTest, ImportedMemoryIsNeverWritten) {
    Tensor x = numbers(1000);
    Tensor y = from_dlpack(to_dlpack(x));
    for (int i = 0; i < 5; ++i) y = (y * 2).eval();
    EXPECT_EQ(y.to<float>()[0], 32);
    EXPECT_EQ(x.to<float>()[0], 1);
    DLManagedTensorVersioned* m = to_dlpack(x, {.copy = true});
    const Tensor z = from_dlpack(m);
    EXPECT_EQ(z.to<float>(), x.to<float>());
}

TEST_F(DlpackGpuTest, DevicesThatAreNotThere) {
    DLManagedTensorVersioned* m = to_dlpack(numbers(3));
    m->dl_tensor.device.device_id = 63;
    EXPECT_THROW(from_dlpack(m), ValueError);
    m->dl_tensor.device.device_id = -1;
    EXPECT_THROW(from_dlpack(m), ValueError);
    m->deleter(m);
}

}  // namespace
}  // namespace tenon
