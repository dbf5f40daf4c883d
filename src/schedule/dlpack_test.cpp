// DLPack, both ways, against structures made by hand.
#include "tenon/dlpack.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "schedule/dlpack_abi.h"
#include "tenon/error.h"
#include "tenon/functions.h"

namespace tenon {
namespace {

/// A producer's tensor over memory of the test, and how often its deleter was called.
struct Made {
    std::vector<float> memory;
    std::vector<std::int64_t> shape, strides;
    DLManagedTensorVersioned managed{};
    int deleted = 0;

    Made(std::vector<float> values, std::vector<std::int64_t> extents, std::vector<std::int64_t> steps = {})
        : memory(std::move(values)), shape(std::move(extents)), strides(std::move(steps)) {
        managed.version = {1, 1};
        managed.manager_ctx = this;
        managed.deleter = [](DLManagedTensorVersioned* self) { ++static_cast<Made*>(self->manager_ctx)->deleted; };
        managed.dl_tensor = {memory.data(),
                             {dlpack::kCpu, 0},
                             static_cast<std::int32_t>(shape.size()),
                             {dlpack::kFloat, 32, 1},
                             shape.data(),
                             strides.empty() ? nullptr : strides.data(),
                             0};
    }
};

TEST(DlpackTest, ThereAndBackIsTheSameMemory) {
    const Tensor x = arange(12.0f).eval();
    for (const Tensor& t : {x, transpose(reshape(x, {3, 4}), {1, 0}), slice(x, {2}, {12}, {3}), flip(x, {0}),
                            broadcast_to(x, {2, 12}), reshape(slice(x, {5}, {6}, {1}), {})}) {
        const Tensor back = from_dlpack(to_dlpack(t)), old = from_dlpack(to_dlpack_unversioned(t));
        for (const Tensor& b : {back, old}) {
            EXPECT_EQ(b.shape(), t.shape());
            EXPECT_EQ(b.host().data, t.host().data);
            EXPECT_EQ(b.host().strides, t.host().strides);
            EXPECT_EQ(b.to<float>(), t.to<float>());
        }
    }
}

TEST(DlpackTest, WhatTheConsumerSees) {
    const Tensor x = reshape(arange(6.0f), {2, 3}).eval();
    DLManagedTensorVersioned* m = to_dlpack(x);
    EXPECT_EQ(m->version.major, 1u);
    EXPECT_EQ(m->flags, std::uint64_t{dlpack::kReadOnly});
    EXPECT_EQ(m->dl_tensor.device.device_type, dlpack::kCpu);
    EXPECT_EQ(m->dl_tensor.ndim, 2);
    EXPECT_EQ(m->dl_tensor.shape[1], 3);
    EXPECT_EQ(m->dl_tensor.strides[0], 3);
    EXPECT_EQ(m->dl_tensor.byte_offset, 0u);
    EXPECT_EQ(m->dl_tensor.data, x.host().data);
    m->deleter(m);
    EXPECT_EQ(dlpack_device(x).type, 1);
    EXPECT_FALSE(dlpack_stream(Device::cpu()));
}

TEST(DlpackTest, MemoryStaysForTheConsumer) {
    DLManagedTensorVersioned* m;
    {
        Tensor x = (arange(1000.0f) + 1).eval();
        m = to_dlpack(x);
        x = x * 2;  // nobody else refers to the operand: its memory would serve for the result
        x.eval();
        EXPECT_EQ(x.to<float>()[999], 2000);
    }
    EXPECT_EQ(static_cast<const float*>(m->dl_tensor.data)[999], 1000);
    m->deleter(m);
}

TEST(DlpackTest, ACopyIsTheConsumers) {
    const Tensor x = transpose(reshape(arange(6.0f), {2, 3}), {1, 0}).eval();
    DLManagedTensorVersioned* m = to_dlpack(x, {.copy = true});
    EXPECT_EQ(m->flags, std::uint64_t{dlpack::kIsCopied});
    auto* data = static_cast<float*>(m->dl_tensor.data);
    EXPECT_EQ(std::vector<float>(data, data + 6), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    data[0] = 7;
    EXPECT_EQ(x.to<float>()[0], 0);
    m->deleter(m);
}

TEST(DlpackTest, ImportsAreOwnedAndNeverWritten) {
    Made made({9, 1, 2, 3, 4, 5}, {2, 2}, {1, 2});
    made.managed.dl_tensor.byte_offset = 4;
    {
        Tensor x = from_dlpack(&made.managed);
        EXPECT_EQ(x.to<float>(), (std::vector<float>{1, 3, 2, 4}));
        const Tensor view = x[1];
        for (int i = 0; i < 3; ++i) x = (x * 2).eval();
        EXPECT_EQ(x.to<float>()[3], 32);
        EXPECT_EQ(made.deleted, 0) << "a view of it lives";
        EXPECT_EQ(view.to<float>()[0], 2);
    }
    EXPECT_EQ(made.deleted, 1);
    EXPECT_EQ(made.memory, (std::vector<float>{9, 1, 2, 3, 4, 5}));
}

TEST(DlpackTest, NoElementsAndNoAxes) {
    Made empty({}, {0, 3});
    empty.managed.dl_tensor.data = nullptr;
    Made scalar({5}, {});
    {
        const Tensor e = from_dlpack(&empty.managed), s = from_dlpack(&scalar.managed);
        EXPECT_EQ(e.shape(), (Shape{0, 3}));
        EXPECT_EQ(sum(e).item<float>(), 0);
        EXPECT_EQ((s + 1).item<float>(), 6);
        const Tensor back = from_dlpack(to_dlpack(e));
        EXPECT_EQ(back.shape(), (Shape{0, 3}));
    }
    EXPECT_EQ(empty.deleted + scalar.deleted, 2);
}

TEST(DlpackTest, EveryDtype) {
    for (int i = 0; i < kDTypeCount; ++i) {
        const auto dtype = static_cast<DType>(i);
        if (dtype >= DType::complex64) continue;
        const Tensor x = astype(arange(4.0f), dtype);
        EXPECT_EQ(from_dlpack(to_dlpack(x)).dtype(), dtype);
    }
}

TEST(DlpackTest, WhatIsRefusedStaysTheProducers) {
    const auto refused = [](auto&& change, auto&& like) {
        Made made({1, 2, 3, 4}, {4});
        change(made.managed);
        EXPECT_THROW(from_dlpack(&made.managed), std::decay_t<decltype(like)>);
        EXPECT_EQ(made.deleted, 0);
    };
    using M = DLManagedTensorVersioned;
    const ValueError value("");
    const TypeError type("");
    const ShapeError shape("");
    refused([](M& m) { m.version.major = 2; }, value);
    refused([](M& m) { m.dl_tensor.device.device_type = 7; }, value);  // Vulkan
    refused([](M& m) { m.dl_tensor.data = nullptr; }, value);
    refused([](M& m) { m.dl_tensor.dtype.lanes = 4; }, type);
    refused([](M& m) { m.dl_tensor.dtype = {dlpack::kComplex, 64, 1}; }, type);
    refused([](M& m) { m.dl_tensor.dtype.bits = 8; }, type);
    refused([](M& m) { m.dl_tensor.ndim = -1; }, shape);
    refused([](M& m) { m.dl_tensor.shape[0] = -1; }, shape);
    refused([](M& m) { m.dl_tensor.shape = nullptr; }, shape);
    // Numbers of elements and strides that fit 63 bits, in bytes that do not.
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    refused([](M& m) { m.dl_tensor.shape[0] = most; }, shape);
    for (const std::int64_t s : {most, most / 4, -most / 4, std::numeric_limits<std::int64_t>::min()}) {
        std::int64_t stride = s;
        refused([&](M& m) { m.dl_tensor.strides = &stride; }, shape);
    }
    EXPECT_THROW(from_dlpack(static_cast<DLManagedTensor*>(nullptr)), ValueError);
    EXPECT_THROW(to_dlpack(arange(3), {.stream = 5}), ValueError);
    EXPECT_THROW(to_dlpack(Tensor()), ValueError);
}

}  // namespace
}  // namespace tenon
