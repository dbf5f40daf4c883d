// Loops by tables have the bits of loops without tables, for every bfloat16 value.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/gpu_testing.h"
#include "cuda/loops.h"
#include "cuda/table_loop.h"
#include "tape/testing.h"

namespace tenon::cuda {
namespace {

using tape::Opcode;
using tape::testing::Array;
constexpr DType kHalf = DType::bfloat16, kFull = DType::float32;

class TableLoopGpuTest : public testing::GpuTest {};

std::shared_ptr<Storage> on_device(const void* bytes, std::int64_t n) {
    auto s = Gpu::at(0).allocate(n);
    Gpu::at(0).to_device(s->data(), bytes, n);
    return s;
}

/// gelu of x times g, and the slope as it is written out, with an exponential: the table gives one value, and two.
std::vector<tape::Tape> tapes() {
    return {{{kHalf, kHalf, kFull, kFull},
             {{Opcode::cast, kHalf, kFull, {0}},
              {Opcode::multiply, kFull, kFull, {4, 2}},
              {Opcode::erf, kFull, kFull, {5}},
              {Opcode::add, kFull, kFull, {6, 3}},
              {Opcode::multiply, kFull, kFull, {4, 7}},
              {Opcode::cast, kHalf, kFull, {1}},
              {Opcode::multiply, kFull, kFull, {8, 9}},
              {Opcode::cast, kFull, kHalf, {10}}},
             {11}},
            {{kHalf, kHalf, kFull, kFull},
             {{Opcode::cast, kHalf, kFull, {0}},
              {Opcode::cast, kHalf, kFull, {1}},
              {Opcode::multiply, kFull, kFull, {4, 2}},
              {Opcode::multiply, kFull, kFull, {6, 6}},
              {Opcode::negative, kFull, kFull, {7}},
              {Opcode::exp, kFull, kFull, {8}},
              {Opcode::multiply, kFull, kFull, {5, 9}},
              {Opcode::erf, kFull, kFull, {6}},
              {Opcode::add, kFull, kFull, {11, 3}},
              {Opcode::multiply, kFull, kFull, {5, 12}},
              {Opcode::add, kFull, kFull, {10, 13}},
              {Opcode::cast, kFull, kHalf, {14}}},
             {15, 13}}};
}

TEST_F(TableLoopGpuTest, BitsOfEveryValue) {
    constexpr std::int64_t kValues = 65536, kAll = 64 * kValues + 8;
    static_assert(kAll >= kTableElements && kValues < kTableElements);
    std::vector<std::uint16_t> x(kAll), g(kAll);
    for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<std::uint16_t>(i * 7 + i / kValues);
        g[i] = static_cast<std::uint16_t>(i / kValues == 5 ? i : 0x3f00 + i % 255);
    }
    const float numbers[] = {0.70710677F, 1};
    const auto dx = on_device(x.data(), kAll * 2), dg = on_device(g.data(), kAll * 2), dn = on_device(numbers, 8);
    Gpu& gpu = Gpu::at(0);
    for (const tape::Tape& tape : tapes()) {
        ASSERT_TRUE(has_table(tape, {false, false, true, true}));
        const auto bytes_of = [&](std::int64_t part) {
            std::vector<std::shared_ptr<Storage>> results;
            for (const std::uint8_t o : tape.outputs) {
                const auto size = static_cast<std::int64_t>(size_of(tape::type_of(tape, o)));
                results.push_back(gpu.allocate(kAll * size));
                gpu.fill_bytes(results.back()->data(), 0x55, kAll * size);
            }
            for (std::int64_t from = 0; from < kAll; from += part) {
                const std::int64_t n = std::min(part, kAll - from);
                const auto at = [&](const auto& s, DType t) {
                    return View{static_cast<std::byte*>(s->data()) + from * static_cast<std::int64_t>(size_of(t)), t,
                                Layout::contiguous({n})};
                };
                const Layout everywhere = Layout{}.broadcast({n});
                std::vector<View> out;
                for (std::size_t o = 0; o < results.size(); ++o)
                    out.push_back(at(results[o], tape::type_of(tape, tape.outputs[o])));
                const View in[] = {at(dx, kHalf),
                                   at(dg, kHalf),
                                   {dn->data(), kFull, everywhere},
                                   {static_cast<std::byte*>(dn->data()) + 4, kFull, everywhere}};
                run(gpu, tape, in, out);
            }
            std::vector<std::vector<std::byte>> all;
            for (const auto& r : results) {
                all.emplace_back(static_cast<std::size_t>(r->bytes()));
                gpu.to_host(all.back().data(), r->data(), r->bytes());
            }
            return all;
        };
        const auto by_table = bytes_of(kAll), without = bytes_of(kValues);
        EXPECT_TRUE(by_table == without);
    }
}

}  // namespace
}  // namespace tenon::cuda
