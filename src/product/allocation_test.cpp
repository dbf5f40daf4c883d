// Small products allocate nothing once a thread has its working space. Sanitizers bring their own operator new.
#include <gtest/gtest.h>

#include "product/product_testing.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include "base/allocations_testing.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::matrix;

TEST(Allocation, SmallProductsAllocateNothing) {
    const testing::WithSetting with(testing::settings().back());
    const DType types[][3] = {{DType::float32, DType::float32, DType::float32},
                              {DType::float64, DType::float64, DType::float64},
                              {DType::bfloat16, DType::bfloat16, DType::float32},
                              {DType::uint8, DType::int8, DType::int32}};
    for (const auto& [a_type, b_type, c_type] : types)
        for (const std::int64_t n : {1, 2, 7, 16, 33, 60}) {
            Array a(a_type, {2, n, n}), b(b_type, {2, n, n}), c(c_type, {2, n, n});
            a.randomize(1), b.randomize(2);
            const PackedMatrix packed = pack(matrix(b));
            for (const std::int64_t batch : {1, 2}) {
                const auto call = [&] {
                    gemm(matrix(a), matrix(b), matrix(c), {.batch = batch});
                    gemm(matrix(a), packed, matrix(c), {.batch = batch});
                };
                // Alone first: of two threads either may run a piece, and wants working space for it.
                for (const int threads : {1, 2}) set_num_threads(threads), call();
                const std::int64_t before = allocations;
                call();
                EXPECT_EQ(allocations - before, 0) << name(a_type) << " " << n << " batch " << batch;
            }
        }
    const std::int64_t before = allocations;
    ::operator delete(::operator new(1));  // a call: a new-expression may be left out
    EXPECT_EQ(allocations - before, 1) << "allocations are not seen";
}

}  // namespace
}  // namespace tenon::product

#endif
