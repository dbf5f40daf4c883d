// Which outputs are refused because they share memory with an operand.
#include "product/overlap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::message_of;

std::set<const void*> addresses(const Matrix& m, std::int64_t batch) {
    std::set<const void*> all;
    const auto* data = static_cast<const float*>(m.data);
    for (std::int64_t b = 0; b < batch; ++b)
        for (std::int64_t i = 0; i < m.rows; ++i)
            for (std::int64_t j = 0; j < m.columns; ++j)
                all.insert(data + b * m.batch_stride + i * m.row_stride + j * m.column_stride);
    return all;
}

bool meet(const Matrix& x, const Matrix& y, std::int64_t batch) {
    const auto of_x = addresses(x, batch);
    for (const void* p : addresses(y, batch))
        if (of_x.count(p) != 0) return true;
    return false;
}

TEST(Overlap, IsNeverClaimedWronglyAndIsFoundForBlocksOfOneMatrix) {
    std::mt19937 random(1);
    const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    std::vector<float> memory(4000);
    int shared = 0, apart = 0;
    for (int i = 0; i < 20000; ++i) {
        const std::int64_t batch = i % 4 == 0 ? 2 : 1;
        const auto any = [&] {
            return Matrix{memory.data() + 1500 + below(90),
                          DType::float32,
                          below(5),
                          below(5),
                          below(41) - 20,
                          below(7) - 3,
                          below(31) - 15};
        };
        Matrix x = any(), y = any();
        if (i % 2 == 0) {
            x.row_stride = 20, x.column_stride = 1 + i % 3, y.row_stride = i % 8 == 2 ? -20 : 20;
            y.column_stride = x.column_stride;
            if (i % 16 == 4) y = y.transpose();
            if (batch == 1) {
                EXPECT_EQ(share_memory(x, y, 1), meet(x, y, 1)) << i;
                (meet(x, y, 1) ? shared : apart) += 1;
            }
        }
        if (share_memory(x, y, batch)) {
            EXPECT_TRUE(meet(x, y, batch)) << i;
        }
        EXPECT_EQ(share_memory(x, y, batch), share_memory(y, x, batch)) << i;
    }
    EXPECT_GT(shared, 200);
    EXPECT_GT(apart, 200);
}

TEST(Overlap, OfContiguousRowsOrColumnsIsExact) {
    std::mt19937 random(3);
    const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    std::vector<float> memory(500);
    int shared = 0, apart = 0;
    for (int i = 0; i < 20000; ++i) {
        const auto any = [&] {
            const std::int64_t step = below(25) - 12;
            const Matrix m{memory.data() + 250 + below(40), DType::float32, below(6), below(6), step, 1, 0};
            return below(2) == 0 ? m : m.transpose();
        };
        const Matrix x = any(), y = any();
        EXPECT_EQ(share_memory(x, y, 1), meet(x, y, 1)) << i;
        (meet(x, y, 1) ? shared : apart) += 1;
    }
    EXPECT_GT(shared, 2000);
    EXPECT_GT(apart, 2000);
}

TEST(Overlap, OfBatchesIsNotMissed) {
    std::mt19937 random(4);
    const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    std::vector<float> memory(1000);
    int shared = 0, apart = 0;
    for (int i = 0; i < 20000; ++i) {
        const std::int64_t batch = below(4);
        const auto any = [&] {
            return Matrix{memory.data() + 500 + below(90),
                          DType::float32,
                          below(5),
                          below(5),
                          below(13) - 6,
                          below(7) - 3,
                          below(81) - 40};
        };
        const Matrix x = any(), y = any();
        const bool may = may_share_memory(x, y, batch);
        if (meet(x, y, batch)) {
            EXPECT_TRUE(may) << i;
        }
        (may ? shared : apart) += 1;
    }
    EXPECT_GT(shared, 2000);
    EXPECT_GT(apart, 2000);
    // One after the other in turn: of x, of y, of x, ...
    const Matrix x{memory.data(), DType::float32, 3, 4, 4, 1, 30};
    Matrix y = x;
    y.data = memory.data() + 12;
    EXPECT_FALSE(may_share_memory(x, y, 5));
    y.data = memory.data() + 11;
    EXPECT_TRUE(may_share_memory(x, y, 5));
}

/// Whether an element of one matrix of a batch is one of another's.
bool crosses(const Matrix& m, std::int64_t batch) {
    std::set<std::int64_t> all;
    for (std::int64_t b = 0; b < batch; ++b)
        for (std::int64_t i = 0; i < m.rows; ++i)
            for (std::int64_t j = 0; j < m.columns; ++j)
                if (!all.insert(b * m.batch_stride + i * m.row_stride + j * m.column_stride).second) return true;
    return false;
}

TEST(Overlap, OfABatchWithItselfIsExact) {
    std::mt19937 random(2);
    const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    float memory;
    int crossed = 0, apart = 0;
    for (int i = 0; i < 40000; ++i) {
        const Matrix m{&memory, DType::float32, below(5), below(5), below(41) - 20, below(13) - 6, below(61) - 30};
        const std::int64_t batch = below(6);
        if (crosses(m, 1)) continue;
        EXPECT_EQ(batch_overlaps_itself(m, batch), crosses(m, batch))
            << m.rows << " " << m.columns << " " << m.row_stride << " " << m.column_stride << " " << m.batch_stride
            << " " << batch;
        (crosses(m, batch) ? crossed : apart) += 1;
    }
    EXPECT_GT(crossed, 1000);
    EXPECT_GT(apart, 1000);
}

TEST(Overlap, GemmRefusesABatchWhoseResultsCross) {
    std::vector<float> a(3 * 4), b(4 * 5), c(100, 7.0f);
    const std::vector<float> before = c;
    const Matrix left{a.data(), DType::float32, 3, 4, 4, 1, 0}, right{b.data(), DType::float32, 4, 5, 5, 1, 0};
    const auto out = [&](std::int64_t rows, std::int64_t columns, std::int64_t batch) {
        return Matrix{c.data(), DType::float32, 3, 5, rows, columns, batch};
    };
    for (const Matrix& crossing : {out(5, 1, 14), out(5, 1, 5), out(5, 1, 0), out(1, 3, 7), out(8, 1, 4)}) {
        const std::string message = message_of<ValueError>([&] { gemm(left, right, crossing, {.batch = 2}); });
        EXPECT_NE(message.find("gemm: elements of c do not share memory"), std::string::npos) << message;
        EXPECT_EQ(c, before);
    }
    // One after the other, from the last, side by side, element by element; and a batch of one.
    for (const Matrix& good : {out(5, 1, 15), out(10, 1, 5), out(10, 2, 1)})
        EXPECT_NO_THROW(gemm(left, right, good, {.batch = 2}));
    Matrix last = out(5, 1, -15);
    last.data = c.data() + 15;
    EXPECT_NO_THROW(gemm(left, right, last, {.batch = 2}));
    EXPECT_NO_THROW(gemm(left, right, out(5, 1, 3), {.batch = 1}));
    EXPECT_NO_THROW(prepare(left, right, out(5, 1, 15), {.batch = 2}));
    EXPECT_THROW(prepare(left, right, out(5, 1, 14), {.batch = 2}), ValueError);
}

TEST(Overlap, GemmRefusesAnOutputThatIsAnOperand) {
    std::vector<float> memory(64 * 64, 1.0f), other(64 * 64, 1.0f), before = memory;
    const Matrix a = row_major(memory.data(), DType::float32, 16, 16),
                 b = row_major(other.data(), DType::float32, 16, 16);
    const auto refuses = [&](const auto& call) {
        const std::string message = message_of<ValueError>(call);
        EXPECT_NE(message.find("gemm: c shares memory with an operand; a is float32 (16, 16)"), std::string::npos)
            << message;
        EXPECT_EQ(memory, before);
    };
    refuses([&] { gemm(a, b, a); });
    refuses([&] { gemm(b, a, a); });
    refuses([&] { gemm(a, pack(b), a); });
    refuses([&] { gemm(a, b, row_major(memory.data() + 255, DType::float32, 16, 16)); });
    const std::string in_batch = message_of<ValueError>(
        [&] { gemm(a, b, row_major(memory.data() + 256, DType::float32, 16, 16), {.batch = 2}); });
    EXPECT_NE(in_batch.find("shares memory"), std::string::npos) << in_batch;

    // Blocks of one matrix, side by side; and what is not read.
    const auto block = [&](std::int64_t row, std::int64_t column) {
        return Matrix{memory.data() + row * 64 + column, DType::float32, 16, 16, 64, 1, 0};
    };
    refuses([&] { gemm(block(0, 0), b, block(8, 15)); });
    EXPECT_NO_THROW(gemm(block(0, 0), block(0, 16), block(0, 32)));
    EXPECT_NO_THROW(gemm(a, b, a, {.alpha = 0, .beta = 1}));
    EXPECT_NO_THROW(gemm(a, pack(a), b));
}

}  // namespace
}  // namespace tenon::product
