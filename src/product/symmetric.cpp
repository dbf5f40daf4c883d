// Symmetric products: one triangle is computed, or read; each element has gemm's bits.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

#include "base/by_isa.h"
#include "base/caches.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/dense/blocked.h"
#include "product/dense/scratch.h"
#include "product/dense/symmetric_packing.h"
#include "product/dense/symmetric_sum.h"
#include "product/float_environment.h"
#include "product/matrices.h"
#include "product/overlap.h"
#include "product/rank_update.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

/// Rows up to which a triangle is computed as a whole square beside C: in place, the tiles of the diagonal alone would
/// be more work.
constexpr std::int64_t kSmall = 32;
/// Rows of a symmetric operand that are completed at once. B is packed again each time, which this many rows outweigh.
constexpr std::int64_t kRows = 512;
/// Rows and columns from which the other triangle of a symmetric operand is completed as it is packed, if products pack
/// it: smaller operands are read in place.
constexpr std::int64_t kPackedRows = 64;
/// Bytes of a square up to which two products with the same operands are computed as one, and of the sums of a product
/// that are added at once.
constexpr std::int64_t kSquareBytes = 64 << 20, kAddedBytes = 33 << 20;
/// Elements below which a copy is not worth a thread.
constexpr std::int64_t kCopyGrain = 1 << 13;

/// Calls f with an unsigned integer of an element's size: copies keep all bits.
template <class F>
void with_element(DType t, F f) {
    switch (size_of(t)) {
        case 2:
            return f(std::uint16_t{});
        case 4:
            return f(std::uint32_t{});
        default:
            return f(std::uint64_t{});
    }
}

/// Copies some elements of a matrix from another one of the same shape.
void copy(const Matrix& from, const Matrix& to) {
    with_element(from.dtype, [&]<class T>(T) {
        for (std::int64_t i = 0; i < from.rows; ++i)
            for (std::int64_t j = 0; j < from.columns; ++j)
                static_cast<T*>(to.data)[i * to.row_stride + j * to.column_stride] =
                    static_cast<const T*>(from.data)[i * from.row_stride + j * from.column_stride];
    });
}

/// Copies rectangles into a matrix with contiguous columns, by the packing of products if there is one for elements of
/// this size. `to` is written up to a multiple of kLine rows.
class Copier {
  public:
    static constexpr std::int64_t kLine = 16;

    explicit Copier(std::int64_t columns) : offsets_(static_cast<std::size_t>(2 * columns) * 8) {
        rows_ = offsets_.take<std::int64_t>(columns), columns_ = offsets_.take<std::int64_t>(columns);
    }
    void operator()(const Matrix& from, const Matrix& to) const {
        if (from.rows == 0 || from.columns == 0) return;
        for (std::int64_t i = 0; i < from.rows; ++i) rows_[i] = i * from.row_stride;
        for (std::int64_t j = 0; j < from.columns; ++j) columns_[j] = j * from.column_stride;
        const dense::IsaKernels& kernels = dense::kernels_of(isa());
        const dense::PackSource source{from.data, rows_, columns_, from.rows, from.columns};
        if (size_of(from.dtype) == 4)
            kernels.u32.across[0](static_cast<std::uint32_t*>(to.data), to.column_stride, source);
        else if (size_of(from.dtype) == 8)
            kernels.u64.across[0](static_cast<std::uint64_t*>(to.data), to.column_stride, source);
        else
            copy(from, to);
    }

  private:
    dense::Scratch offsets_;
    std::int64_t *rows_, *columns_;
};

/// A matrix is transposed for one product from this many rows on, if its columns are a multiple of this many bytes
/// apart, up to this many bytes.
constexpr std::int64_t kTransposedRows = 384, kTransposedStep = 4 << 10, kTransposedBytes = 64 << 20;

/// The matrix itself, or a copy in `room` whose rows are contiguous along k. A product reads its rows one by one; if
/// its columns are contiguous instead, its rows are packed (transposed) again for each chunk of the other matrix, from
/// columns that, multiples of 4 KiB apart, share few sets of the nearest caches. Transposing them once gained 3 to 6 %
/// on an Emerald Rapids (2 MiB of L2, a last level shared by a whole chip); with a smaller L2 it was not measured and
/// is not done.
Matrix with_rows_along(const Matrix& a, std::optional<dense::Scratch>& room) {
    constexpr std::int64_t kBlock = 64;
    const std::int64_t n = a.rows, k = a.columns, size = static_cast<std::int64_t>(size_of(a.dtype)),
                       pitch = (k + Copier::kLine - 1) / Copier::kLine * Copier::kLine + Copier::kLine;
    if (a.row_stride != 1 || a.column_stride == 1 || a.column_stride * size % kTransposedStep != 0 ||
        n < kTransposedRows || k < kBlock || size < 4 || n * pitch * size > kTransposedBytes || !caches().large_l2())
        return a;
    room.emplace(static_cast<std::size_t>(n * pitch * size));
    Matrix rows = row_major(room->data(), a.dtype, n, k);
    rows.row_stride = pitch;
    parallel_for((n + kBlock - 1) / kBlock, std::max<std::int64_t>(1, kCopyGrain / (k * kBlock)),
                 [&](std::int64_t begin, std::int64_t end) {
                     const Copier copier(std::max(k, kBlock));
                     for (std::int64_t i = begin * kBlock; i < std::min(end * kBlock, n); i += kBlock) {
                         const std::int64_t m = std::min(kBlock, n - i);
                         copier(block(a, i, 0, m, k).transpose(), block(rows, i, 0, m, k).transpose());
                     }
                 });
    return rows;
}

/// Stores `sums`, rows one after the other, to C's lower triangle; or, with kIn, loads them, with zeros above the
/// diagonal.
template <bool kIn>
void copy_lower(const Matrix& c, const Matrix& sums) {
    with_element(c.dtype, [&]<class T>(T) {
        const std::int64_t n = c.rows;
        for (std::int64_t i = 0; i < n; ++i) {
            T* there = static_cast<T*>(c.data) + i * c.row_stride;
            T* here = static_cast<T*>(sums.data) + i * n;
            for (std::int64_t j = 0; j <= i; ++j)
                if constexpr (kIn)
                    here[j] = there[j * c.column_stride];
                else
                    there[j * c.column_stride] = here[j];
            if constexpr (kIn) std::fill(here + i + 1, here + n, T{0});
        }
    });
}

/// A small triangle: the whole product in scratch, then its triangle.
void update_small(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options) {
    dense::Scratch scratch(static_cast<std::size_t>(c.rows * c.rows) * size_of(c.dtype));
    const Matrix sums = row_major(scratch.data(), c.dtype, c.rows, c.rows);
    if (options.beta != 0) copy_lower<true>(c, sums);
    gemm(a, b, sums, {.alpha = options.alpha, .beta = options.beta});
    copy_lower<false>(c, sums);
}

/// The same for A B^T by RankUpdate; returns false if that does not take it.
bool update_rank(const Matrix& a, const Matrix& b, const Matrix& c, dense::Part part, const SymmetricOptions& options) {
    const bool real = a.dtype == DType::float32 || a.dtype == DType::float64,
               stores = options.alpha == 1 && options.beta == 0,
               adds = std::abs(options.alpha) == 1 && options.beta == 1 && a.columns <= kBlockK;
    if (!real || c.dtype != a.dtype || !(stores || adds) || !rank_update_takes(a, b, c)) return false;
    const dense::Write write = stores               ? dense::Write::store
                               : options.alpha == 1 ? dense::Write::add
                                                    : dense::Write::subtract;
    if (a.dtype == DType::float32)
        RankUpdate<float>(a, b, c, part, write).run();
    else
        RankUpdate<double>(a, b, c, part, write).run();
    return true;
}

/// One triangle of C = alpha A B + beta C, A (n, k) and B (k, n). An upper one is the lower one of C^T = alpha B^T A^T
/// + beta C^T.
void update(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    if (c.rows == 0) return;
    if (triangle == Triangle::upper)
        return update(b.transpose(), a.transpose(), c.transpose(), Triangle::lower, options);
    if (c.rows <= kSmall) return update_small(a, b, c, options);
    // The rows of C in memory order are those of A, or columns of B.
    const bool by_columns = c.column_stride != 1 && c.row_stride == 1;
    if (by_columns ? update_rank(b.transpose(), a, c.transpose(), dense::Part::upper, options)
                   : update_rank(a, b.transpose(), c, dense::Part::lower, options))
        return;
    std::optional<dense::Scratch> room;
    const Matrix rows = with_rows_along(by_columns ? b.transpose() : a, room);
    const Matrix left = by_columns ? a : rows, right = by_columns ? rows.transpose() : b;
    dense::contract_blocked(roles_of(left, right, c, 1), elements_of(left), elements_of(right), elements_of(c),
                            finish_of({.alpha = options.alpha, .beta = options.beta}), {.part = dense::Part::lower});
}

constexpr const char* kTypeRule =
    "operands share float64, float32, float16 or bfloat16 and c has it too (or float32 for the last two)";

void check_output(const char* name, const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options,
                  std::initializer_list<Operand> operands) {
    if (c.rows != a.rows || c.columns != a.rows) refuse<ShapeError>(name, "c is (n, n) for a (n, k)", operands);
    if (a.dtype != b.dtype || !sums_into(a.dtype, c.dtype)) refuse<TypeError>(name, kTypeRule, operands);
    if (overlaps_itself(c)) refuse<ValueError>(name, "elements of c do not share memory", operands);
    if (options.alpha != 0 && (share_memory(a, c, 1) || share_memory(b, c, 1)))
        refuse<ValueError>(name, "c shares memory with an operand", operands);
}

void check_update(const char* name, const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options,
                  std::initializer_list<Operand> operands) {
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>(name, "extents are not negative", operands);
    if (b.rows != a.rows || b.columns != a.columns)
        refuse<ShapeError>(name, "a (n, k) and b (n, k) have the same shape", operands);
    check_output(name, a, b, c, options, operands);
}

void check_symm(Side side, const Matrix& a, const Matrix& b, const Matrix& c) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}, {"c", c}};
    if (a.rows < 0 || b.rows < 0 || b.columns < 0) refuse<ShapeError>("symm", "extents are not negative", operands);
    if (b.rows != c.rows || b.columns != c.columns)
        refuse<ShapeError>("symm", "b (m, n) and c (m, n) have the same shape", operands);
    if (side == Side::left && (a.rows != b.rows || a.columns != b.rows))
        refuse<ShapeError>("symm", "a (m, m) stands on the left of b (m, n)", operands);
    if (side == Side::right && (a.rows != b.columns || a.columns != b.columns))
        refuse<ShapeError>("symm", "a (n, n) stands on the right of b (m, n)", operands);
    if (a.dtype != b.dtype || !sums_into(a.dtype, c.dtype)) refuse<TypeError>("symm", kTypeRule, operands);
    if (overlaps_itself(c)) refuse<ValueError>("symm", "elements of c do not share memory", operands);
}

/// A block on the diagonal, a few rows at a time, since that part is copied element by element.
void complete_diagonal(const Matrix& a, const Matrix& to, const Copier& copier) {
    for (std::int64_t i = 0; i < a.rows; i += Copier::kLine) {
        const std::int64_t m = std::min(Copier::kLine, a.rows - i), rest = a.rows - i - m;
        copier(block(a, i, 0, m, i), block(to, i, 0, m, i));
        copier(block(a, i + m, i, rest, m).transpose(), block(to, i, i + m, m, rest));
        for (std::int64_t d = 0; d < m; ++d) {
            copy(block(a, i + d, i, 1, d + 1), block(to, i + d, i, 1, d + 1));
            copy(block(a, i + d, i, 1, d).transpose(), block(to, i, i + d, d, 1));
        }
    }
}

/// The rows from `first` of the symmetric matrix whose lower triangle is A's; columns of `rows` are contiguous.
void complete(const Matrix& a, std::int64_t first, const Matrix& rows) {
    constexpr std::int64_t kBlock = 64;
    static_assert(kBlock % Copier::kLine == 0);
    const std::int64_t n = a.rows, blocks = (rows.rows + kBlock - 1) / kBlock;
    parallel_for(blocks, std::max<std::int64_t>(1, kCopyGrain / (n * kBlock)),
                 [&](std::int64_t begin, std::int64_t end) {
                     const Copier copier(std::max(n, kBlock));
                     for (std::int64_t i = begin * kBlock; i < std::min(end * kBlock, rows.rows); i += kBlock) {
                         const std::int64_t at = first + i, m = std::min(kBlock, rows.rows - i), rest = n - at - m;
                         copier(block(a, at, 0, m, at), block(rows, i, 0, m, at));
                         copier(block(a, at + m, at, rest, m).transpose(), block(rows, i, at + m, m, rest));
                         complete_diagonal(block(a, at, at, m, m), block(rows, i, at, m, m), copier);
                     }
                 });
}

/// One triangle of C = alpha P + alpha P^T + beta C for P = A B^T; rows of C are contiguous. The transpose of P is B
/// A^T, bit for bit: the factors of each product are exchanged, the order of the sum stays.
template <class T>
void update_square(void (*symmetric_sum)(const dense::SymmetricSum<T>&), const Matrix& a, const Matrix& b,
                   const Matrix& c, bool lower, const SymmetricOptions& options) {
    constexpr std::int64_t kBlock = 64;
    const std::int64_t n = c.rows, blocks = (n + kBlock - 1) / kBlock, pitch = (n / 16 + 2) * 16;
    dense::Scratch scratch(static_cast<std::size_t>(n * pitch) * sizeof(T));
    Matrix product = row_major(scratch.data(), c.dtype, n, n);
    product.row_stride = pitch;
    std::optional<dense::Scratch> transposed;
    if (!update_rank(a, b, product, dense::Part::whole, {}))
        gemm(with_rows_along(a, transposed), b.transpose(), product);
    const auto some = [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(Subnormals::keep);
        const std::int64_t first = begin * kBlock;
        symmetric_sum({static_cast<const T*>(product.data), static_cast<T*>(c.data), n, pitch, c.row_stride, first,
                       std::min(end * kBlock, n) - first, static_cast<T>(options.alpha), static_cast<T>(options.beta),
                       lower});
    };
    parallel_for(blocks, std::max<std::int64_t>(1, kCopyGrain / (n * kBlock)), some, Pieces::unlike);
}

/// C = C + sums; rows of both are contiguous.
void add(const Matrix& sums, const Matrix& c) {
    const dense::IsaKernels& kernels = dense::kernels_of(isa());
    parallel_for(c.rows, std::max<std::int64_t>(1, kCopyGrain / c.columns), [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(Subnormals::keep);
        for (std::int64_t i = begin; i < end; ++i) {
            const Matrix from = block(sums, i, 0, 1, c.columns), to = block(c, i, 0, 1, c.columns);
            if (c.dtype == DType::float32)
                kernels.f32.add_to(static_cast<float*>(to.data), static_cast<const float*>(from.data), c.columns);
            else
                kernels.f64.add_to(static_cast<double*>(to.data), static_cast<const double*>(from.data), c.columns);
        }
    });
}

/// C = alpha A B^T + beta C; rows of C are contiguous.
void multiply(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options) {
    if (!update_rank(a, b, c, dense::Part::whole, options))
        gemm(a, b.transpose(), c, {.alpha = options.alpha, .beta = options.beta});
}

/// C = alpha A B^T + C; rows of C are contiguous. Several blocks of k are summed in scratch and then added: sums that a
/// product adds itself wait for a chunk of columns at a time, for each of which A comes from memory again. With a part
/// of 2048 x 2048, syr2k of 4096 in float64 takes 0.95 of the time, and 0.96 in halves of it (Zen 5).
void add_product(const Matrix& a, const Matrix& b, const Matrix& c, double alpha) {
    if (alpha != 1 || a.columns <= kBlockK || a.columns > kSplitK)
        return multiply(a, b, c, {.alpha = alpha, .beta = 1});
    const std::int64_t pitch = (c.columns / 16 + 2) * 16, row = pitch * static_cast<std::int64_t>(size_of(c.dtype)),
                       parts = std::min(dense::ceil_div(c.rows * row, kAddedBytes), c.rows);
    const dense::Scratch scratch(static_cast<std::size_t>(dense::ceil_div(c.rows, parts) * row));
    for (std::int64_t i = 0; i < parts; ++i) {
        const auto [begin, end] = dense::part(c.rows, parts, i);
        Matrix sums = row_major(scratch.data(), c.dtype, end - begin, c.columns);
        sums.row_stride = pitch;
        multiply(block(a, begin, 0, sums.rows, a.columns), b, sums, {});
        add(sums, block(c, begin, 0, sums.rows, c.columns));
    }
}

/// One triangle of C = alpha A B^T + alpha B A^T + beta C.
void update_twice(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle,
                  const SymmetricOptions& options) {
    const std::int64_t n = c.rows;
    const bool lower = triangle == Triangle::lower, real = c.dtype == DType::float32 || c.dtype == DType::float64;
    // For C^T the two products are exchanged too.
    if (c.column_stride != 1 && c.row_stride == 1)
        return update_twice(b, a, c.transpose(), lower ? Triangle::upper : Triangle::lower, options);
    if (n <= kSmall || options.alpha == 0 || !real || c.column_stride != 1) {
        update(a, b.transpose(), c, triangle, options);
        return update(b, a.transpose(), c, triangle, {options.alpha, 1});
    }
    if (n * n * static_cast<std::int64_t>(size_of(c.dtype)) <= kSquareBytes) {
        using namespace dense;
        const IsaSymmetricSum& kernels = TENON_BY_ISA(isa(), kSymmetricSum);
        return c.dtype == DType::float32 ? update_square<float>(kernels.f32, a, b, c, lower, options)
                                         : update_square<double>(kernels.f64, a, b, c, lower, options);
    }
    const std::int64_t h = (n / 2 + kSmall - 1) / kSmall * kSmall, rest = n - h, k = a.columns;
    const Matrix a1 = block(a, 0, 0, h, k), a2 = block(a, h, 0, rest, k), b1 = block(b, 0, 0, h, k),
                 b2 = block(b, h, 0, rest, k);
    update_twice(a1, b1, block(c, 0, 0, h, h), triangle, options);
    const Matrix between = lower ? block(c, h, 0, rest, h) : block(c, 0, h, h, rest);
    multiply(lower ? a2 : a1, lower ? b1 : b2, between, options);
    add_product(lower ? b2 : b1, lower ? a1 : a2, between, options.alpha);
    update_twice(a2, b2, block(c, h, h, rest, rest), triangle, options);
}

/// Bytes of a symmetric operand up to which it is completed before a product that fills at most half of a large L2, on
/// one thread: that product then packs nothing. Gains 4 to 24 % on an Emerald Rapids; not measured with a smaller L2.
constexpr std::int64_t kCompletedBytes = 256 << 10;

bool completes_first(const Matrix& a, const Matrix& c, std::int64_t pitch) {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    return threads_here() == 1 && caches().large_l2() && a.rows <= kBlockK &&
           a.rows * pitch * size <= kCompletedBytes &&
           2 * (a.rows * pitch + 2 * c.rows * c.columns) * size <= caches().l2;
}

/// The symmetric matrix whose lower triangle is A's; rows of `to` are up to a multiple of kLine long.
template <class T>
void complete_rows(const Matrix& a, const Matrix& to, dense::PackAcross<T> packing) {
    constexpr std::int64_t kColumns = 64;
    const dense::SymmetricPanel<T> panel(static_cast<const T*>(a.data), Axis{a.rows, 0, a.row_stride, 0},
                                         Axis{a.rows, 0, a.column_stride, 0}, dense::Part::lower, packing);
    for (std::int64_t j = 0; j < a.rows; j += kColumns)
        panel(static_cast<T*>(to.data) + j, to.row_stride, {0, a.rows}, {j, std::min(j + kColumns, a.rows)});
}

/// C = alpha A B + beta C, A symmetric with its lower triangle given.
void multiply_symmetric(const Matrix& a, const Matrix& b, const Matrix& c, const SymmetricOptions& options) {
    const std::int64_t n = a.rows;
    const GemmOptions finish{.alpha = options.alpha, .beta = options.beta};
    if (n == 0 || c.columns == 0 || options.alpha == 0) return gemm(a, b, c, finish);
    const bool real = a.dtype == DType::float32 || a.dtype == DType::float64;
    const bool packs = real && c.dtype == a.dtype && std::min(n, c.columns) >= kPackedRows;
    if (const std::int64_t step = (n + Copier::kLine - 1) / Copier::kLine * Copier::kLine;
        packs && completes_first(a, c, step)) {
        const dense::Scratch scratch(static_cast<std::size_t>(n * step) * size_of(a.dtype));
        Matrix rows = row_major(scratch.data(), a.dtype, n, n);
        rows.row_stride = step;
        const dense::IsaKernels& kernels = dense::kernels_of(isa());
        if (a.dtype == DType::float32)
            complete_rows<float>(a, rows, kernels.f32.across[0]);
        else
            complete_rows<double>(a, rows, kernels.f64.across[0]);
        // It is its own transpose: rows or columns are adjacent, whichever the product reads.
        return gemm(c.column_stride == 1 ? rows : rows.transpose(), b, c, finish);
    }
    if (packs) {
        const dense::Declined declined =
            dense::contract_blocked(roles_of(a, b, c, 1), elements_of(a), elements_of(b), elements_of(c),
                                    finish_of(finish), {.symmetric_a = dense::Part::lower});
        if (!declined.a) return;
    }
    const std::int64_t most = std::min(n, kRows), pitch = (most + Copier::kLine - 1) / Copier::kLine * Copier::kLine;
    dense::Scratch scratch(static_cast<std::size_t>(pitch * n) * size_of(a.dtype));
    for (std::int64_t first = 0; first < n; first += kRows) {
        const Matrix rows{scratch.data(), a.dtype, std::min(kRows, n - first), n, 1, pitch, 0};
        complete(a, first, rows);
        gemm(rows, b, block(c, first, 0, rows.rows, c.columns), finish);
    }
}

}  // namespace

void syrk(const Matrix& a, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    check_update("syrk", a, a, c, options, {{"a", a}, {"c", c}});
    update(a, a.transpose(), c, triangle, options);
}

void gemmt(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    const std::initializer_list<Operand> operands = {{"a", a}, {"b", b}, {"c", c}};
    if (a.rows < 0 || a.columns < 0) refuse<ShapeError>("gemmt", "extents are not negative", operands);
    if (b.rows != a.columns || b.columns != a.rows) refuse<ShapeError>("gemmt", "b is (k, n) for a (n, k)", operands);
    check_output("gemmt", a, b, c, options, operands);
    update(a, b, c, triangle, options);
}

void syr2k(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle, const SymmetricOptions& options) {
    check_update("syr2k", a, b, c, options, {{"a", a}, {"b", b}, {"c", c}});
    update_twice(a, b, c, triangle, options);
}

void symm(Side side, Triangle triangle, const Matrix& a, const Matrix& b, const Matrix& c,
          const SymmetricOptions& options) {
    check_symm(side, a, b, c);
    // A is its own transpose, so the right side is the left side of the transposes of B and C.
    const Matrix lower = triangle == Triangle::lower ? a : a.transpose();
    if (side == Side::left) return multiply_symmetric(lower, b, c, options);
    multiply_symmetric(lower, b.transpose(), c.transpose(), options);
}

}  // namespace tenon::product
