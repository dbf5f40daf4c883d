#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "base/text.h"
#include "tape/kernels.h"
#include "tape/reduce_axes.h"
#include "tape/scratch.h"
#include "tenon/error.h"

namespace tenon::tape {
namespace {

constexpr std::int64_t kGrainElements = 32768;
constexpr std::int64_t kLaneBytes = 32768;  // of accumulators in use, which stay in L1
constexpr std::int64_t kGather = 1024;  // elements copied contiguously at a time, a multiple of kLanes

constexpr const char* kNames[] = {"sum", "prod", "max", "min"};

struct Problem {
    const std::byte* in;
    std::byte* out;
    std::int64_t in_size, out_size, accumulator_size;
    std::vector<Axis> kept, reduced;  // kept ones by descending input stride, reduced ones row-major
    std::int64_t outputs, length;  // number of results; elements in each
    // results that are adjacent in the input are taken `columns` at a time, in `tiles` pieces
    std::int64_t columns, tiles;
};

void check_shapes(const char* what, const View& in, const Axes& axes, const View& out) {
    std::vector<bool> gone(static_cast<std::size_t>(in.layout.rank()));
    for (const std::int64_t a : axes) {
        if (a < 0 || a >= in.layout.rank() || gone[static_cast<std::size_t>(a)])
            throw ShapeError(text(what, ": axes ", to_string(axes), " of shape ", to_string(in.shape())));
        gone[static_cast<std::size_t>(a)] = true;
    }
    Shape left;
    for (int d = 0; d < in.layout.rank(); ++d)
        if (!gone[static_cast<std::size_t>(d)]) left.push_back(in.shape()[d]);
    if (!(left == out.shape()))
        throw ShapeError(text(what, ": ", to_string(in.shape()), " over ", to_string(axes), " gives ", to_string(left),
                              ", not ", to_string(out.shape())));
}

Problem make_problem(const View& in, const Axes& axes, const View& out) {
    const DType type = in.dtype;
    Problem p{in.as<std::byte>(),
              out.as<std::byte>(),
              static_cast<std::int64_t>(size_of(type)),
              static_cast<std::int64_t>(size_of(out.dtype)),
              std::max<std::int64_t>(static_cast<std::int64_t>(size_of(type)), is_floating(type) ? 4 : 1),
              {},
              {},
              0,
              0,
              1,
              1};
    for (int d = 0, o = 0; d < in.layout.rank(); ++d) {
        const std::int64_t extent = in.shape()[d], stride = in.layout.strides[d];
        if (std::ranges::find(axes, d) != axes.end())
            p.reduced.push_back({extent, stride, 0});
        else
            p.kept.push_back({extent, stride, out.layout.strides[o++]});
    }
    p.outputs = product(p.kept);
    p.length = product(p.reduced);
    join_axes(p.reduced);
    std::ranges::stable_sort(p.kept, [](const Axis& a, const Axis& b) { return std::abs(a.in) > std::abs(b.in); });
    join_axes(p.kept);
    return p;
}

/// Takes adjacent results of the input together, so that loops run over them.
void choose_columns(Problem& p, std::int64_t most) {
    if (p.kept.empty() || p.kept.back().in != 1) return;
    p.columns = std::min(p.kept.back().extent, most);
    p.tiles = (p.kept.back().extent + p.columns - 1) / p.columns;
}

/// Piece i of the results: `columns` of them from result `first`, and where they are in both arrays.
struct Piece {
    std::int64_t columns, first, in, out;
};
Piece piece_at(const Problem& p, std::int64_t i) {
    Piece piece{1, 0, 0, 0};
    std::int64_t scale = 1;
    std::size_t axes = p.kept.size();
    if (p.columns > 1) {
        const Axis& last = p.kept[--axes];
        const std::int64_t column = i % p.tiles * p.columns;
        i /= p.tiles;
        piece = {std::min(p.columns, last.extent - column), column, column * last.in, column * last.out};
        scale = last.extent;
    }
    while (axes-- > 0) {
        const Axis& a = p.kept[axes];
        const std::int64_t at = i % a.extent;
        i /= a.extent;
        piece.in += at * a.in;
        piece.out += at * a.out;
        piece.first += at * scale;
        scale *= a.extent;
    }
    return piece;
}
std::int64_t piece_count(const Problem& p) {
    return p.columns > 1 ? p.outputs / p.kept.back().extent * p.tiles : p.outputs;
}
std::int64_t out_stride(const Problem& p) { return p.columns > 1 ? p.kept.back().out : 1; }

/// Calls body(element offset, stride, rows, done) for runs that cover elements [begin, end) of a reduction, in order.
template <class F>
void for_runs(const Problem& p, std::int64_t begin, std::int64_t end, F&& body) {
    if (p.reduced.empty()) return body(std::int64_t{0}, std::int64_t{1}, end - begin, std::int64_t{0});
    const Axis& last = p.reduced.back();
    std::int64_t index[kMaxRank], offset = 0, rest = begin;
    for (std::size_t d = p.reduced.size(); d-- > 0;) {
        index[d] = rest % p.reduced[d].extent;
        rest /= p.reduced[d].extent;
        offset += index[d] * p.reduced[d].in;
    }
    for (std::int64_t done = 0; done < end - begin;) {
        std::size_t d = p.reduced.size() - 1;
        const std::int64_t rows = std::min(last.extent - index[d], end - begin - done);
        body(offset, last.in, rows, done);
        done += rows;
        index[d] += rows;
        offset += rows * last.in;
        for (; d > 0 && index[d] == p.reduced[d].extent; --d) {
            offset += p.reduced[d - 1].in - index[d] * p.reduced[d].in;
            index[d] = 0;
            ++index[d - 1];
        }
    }
}

template <class U>
void copy_strided(std::byte* to, const std::byte* from, std::int64_t stride, std::int64_t n) {
    auto* y = reinterpret_cast<U*>(to);
    const auto* x = reinterpret_cast<const U*>(from);
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
}
void copy_strided(std::int64_t size, std::byte* to, const std::byte* from, std::int64_t stride, std::int64_t n) {
    switch (size) {
        case 1:
            return copy_strided<std::uint8_t>(to, from, stride, n);
        case 2:
            return copy_strided<std::uint16_t>(to, from, stride, n);
        case 4:
            return copy_strided<std::uint32_t>(to, from, stride, n);
        default:
            return copy_strided<std::uint64_t>(to, from, stride, n);
    }
}

/// One result's elements [begin, end) into its lanes. Unless they are contiguous they are first copied so.
void accumulate_one(const Problem& p, const ReduceKernels& k, std::byte* lanes, const std::byte* in, std::int64_t begin,
                    std::int64_t end, std::byte* buffer) {
    if (p.reduced.size() <= 1 && (p.reduced.empty() || p.reduced[0].in == 1))
        return k.accumulate(lanes, 1, in + begin * p.in_size, 1, end - begin, 0);
    std::int64_t held = 0;
    for_runs(p, begin, end, [&](std::int64_t offset, std::int64_t stride, std::int64_t rows, std::int64_t) {
        while (rows > 0) {
            const std::int64_t n = std::min(rows, kGather - held);
            copy_strided(p.in_size, buffer + held * p.in_size, in + offset * p.in_size, stride, n);
            held += n, rows -= n, offset += n * stride;
            if (held < kGather) continue;
            k.accumulate(lanes, 1, buffer, 1, held, 0);
            held = 0;
        }
    });
    if (held > 0) k.accumulate(lanes, 1, buffer, 1, held, 0);
}

/// The results of a chunk, [begin, end) of the reduction, for the columns of a piece; they end in lane 0 of `lanes`.
void reduce_chunk(const Problem& p, const ReduceKernels& k, std::byte* lanes, const Piece& piece, std::int64_t begin,
                  std::int64_t end) {
    const std::byte* in = p.in + piece.in * p.in_size;
    const std::int64_t columns = piece.columns;
    // Lanes that no element enters are neutral to the bit, so the tree starts at the first level that has any.
    std::int64_t width =
        std::min(kLanes, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(end - begin))));
    k.fill(lanes, width * columns);
    if (p.columns == 1) {
        accumulate_one(p, k, lanes, in, begin, end, lanes + kLanes * p.accumulator_size);
    } else {
        for_runs(p, begin, end, [&](std::int64_t offset, std::int64_t stride, std::int64_t rows, std::int64_t done) {
            k.accumulate(lanes, columns, in + offset * p.in_size, stride, rows, done);
        });
    }
    while ((width /= 2) > 0) k.join(lanes, lanes + width * columns * p.accumulator_size, width * columns);
}

void store_piece(const Problem& p, const ReduceKernels& k, const Piece& piece, const std::byte* accumulators,
                 std::byte* buffer) {
    std::byte* to = p.out + piece.out * p.out_size;
    const std::int64_t stride = out_stride(p);
    if (stride == 1) return k.store(to, accumulators, piece.columns);
    k.store(buffer, accumulators, piece.columns);
    for (std::int64_t c = 0; c < piece.columns; ++c)
        std::memcpy(to + c * stride * p.out_size, buffer + c * p.out_size, static_cast<std::size_t>(p.out_size));
}

/// Writes the reduction of nothing.
void store_empty(const Problem& p, const ReduceKernels& k, Reduction op) {
    std::uint64_t value = 0, stored = 0;
    if (op != Reduction::sum) {
        k.fill(&value, 1);
        k.store(&stored, &value, 1);
    }
    for (std::int64_t i = 0; i < p.outputs; ++i)
        std::memcpy(p.out + piece_at(p, i).out * p.out_size, &stored, static_cast<std::size_t>(p.out_size));
}

const ReduceKernels& kernels_of(const KernelTable& table, Reduction op, DType type) {
    const ReduceKernels& k = table.reduce[static_cast<int>(op)][static_cast<int>(type)];
    if (!k.fill) throw TypeError(text("reduce: ", kNames[static_cast<int>(op)], " does not take ", name(type)));
    return k;
}

void check_reduce(Reduction op, const View& in, const Axes& axes, const View& out) {
    const char* what = kNames[static_cast<int>(op)];
    if (in.dtype != out.dtype)
        throw TypeError(text(what, ": of ", name(in.dtype), " gives ", name(in.dtype), ", not ", name(out.dtype)));
    check_shapes(what, in, axes, out);
}

}  // namespace

void reduce(Reduction op, const View& in, const Axes& axes, const View& out) {
    check_reduce(op, in, axes, out);
    const ReduceKernels& k = kernels_of(kernels(), op, in.dtype);
    Problem p = make_problem(in, axes, out);
    if (p.outputs == 0) return;
    if (p.length == 0) return store_empty(p, k, op);
    const std::int64_t chunk = std::min(p.length, kReduceChunk);
    choose_columns(p, kLaneBytes / (std::min(chunk, kLanes) * p.accumulator_size));
    const std::int64_t pieces = piece_count(p), chunks = (p.length + chunk - 1) / chunk;
    const auto lanes_used =
        std::min(kLanes, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(chunk))));
    const std::int64_t lane_bytes = std::max(p.columns * lanes_used, kLanes) * p.accumulator_size;
    const std::int64_t buffer_bytes = std::max(kGather, p.columns) * 8;
    std::vector<std::byte> partial(static_cast<std::size_t>(chunks > 1 ? chunks * p.outputs * p.accumulator_size : 0));
    const auto partial_at = [&](std::int64_t c, const Piece& piece) {
        return partial.data() + (c * p.outputs + piece.first) * p.accumulator_size;
    };
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / (p.columns * chunk));
    parallel_for(pieces * chunks, grain, [&](std::int64_t begin, std::int64_t end) {
        std::byte* lanes = scratch(static_cast<std::size_t>(lane_bytes + buffer_bytes));
        for (std::int64_t i = begin; i < end; ++i) {
            const Piece piece = piece_at(p, i / chunks);
            const std::int64_t c = i % chunks;
            reduce_chunk(p, k, lanes, piece, c * chunk, std::min(p.length, (c + 1) * chunk));
            if (chunks == 1)
                store_piece(p, k, piece, lanes, lanes + lane_bytes);
            else
                std::memcpy(partial_at(c, piece), lanes, static_cast<std::size_t>(piece.columns * p.accumulator_size));
        }
    });
    if (chunks == 1) return;
    std::byte* buffer = scratch(static_cast<std::size_t>(buffer_bytes + lane_bytes));
    for (std::int64_t i = 0; i < pieces; ++i) {
        const Piece piece = piece_at(p, i);
        for (std::int64_t c = 1; c < chunks; ++c) k.join(partial_at(0, piece), partial_at(c, piece), piece.columns);
        store_piece(p, k, piece, partial_at(0, piece), buffer);
    }
}

void reduce_reference(Reduction op, const View& in, const Axes& axes, const View& out) {
    check_reduce(op, in, axes, out);
    const ReduceKernels& k = kernels_of(kernels(Isa::baseline), op, in.dtype);
    const Problem p = make_problem(in, axes, out);
    if (p.length == 0) return store_empty(p, k, op);
    std::vector<std::uint64_t> lanes(kLanes);
    auto* bytes = reinterpret_cast<std::byte*>(lanes.data());
    for (std::int64_t i = 0; i < p.outputs; ++i) {
        const Piece piece = piece_at(p, i);
        std::uint64_t result = 0;
        for (std::int64_t begin = 0; begin < p.length; begin += kReduceChunk) {
            k.fill(bytes, kLanes);
            for_runs(p, begin, std::min(p.length, begin + kReduceChunk),
                     [&](std::int64_t offset, std::int64_t stride, std::int64_t rows, std::int64_t done) {
                         for (std::int64_t r = 0; r < rows; ++r)
                             k.accumulate(bytes + (done + r) % kLanes * p.accumulator_size, 1,
                                          p.in + (piece.in + offset + r * stride) * p.in_size, 1, 1, 0);
                     });
            for (std::int64_t half = kLanes / 2; half > 0; half /= 2)
                for (std::int64_t l = 0; l < half; ++l)
                    k.join(bytes + l * p.accumulator_size, bytes + (l + half) * p.accumulator_size, 1);
            if (begin == 0)
                std::memcpy(&result, bytes, static_cast<std::size_t>(p.accumulator_size));
            else
                k.join(&result, bytes, 1);
        }
        k.store(p.out + piece.out * p.out_size, &result, 1);
    }
}

void argreduce(Reduction op, const View& in, const Axes& axes, const View& out) {
    if (op != Reduction::max && op != Reduction::min) throw ValueError("argreduce: max or min");
    const char* what = op == Reduction::max ? "argmax" : "argmin";
    if (out.dtype != DType::int64) throw TypeError(text(what, ": gives int64, not ", name(out.dtype)));
    check_shapes(what, in, axes, out);
    Problem p = make_problem(in, axes, out);
    if (p.outputs == 0) return;
    if (p.length == 0) throw ValueError(text(what, ": of no elements, shape ", to_string(in.shape())));
    const ArgKernel k = kernels().arg[op == Reduction::max ? 0 : 1][static_cast<int>(in.dtype)];
    if (!k) throw TypeError(text(what, ": does not take ", name(in.dtype)));
    choose_columns(p, 512);
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / (p.columns * p.length));
    parallel_for(piece_count(p), grain, [&](std::int64_t begin, std::int64_t end) {
        std::byte* best = scratch(static_cast<std::size_t>(p.columns * 16));
        auto* index = reinterpret_cast<std::int64_t*>(best + p.columns * 8);
        for (std::int64_t i = begin; i < end; ++i) {
            const Piece piece = piece_at(p, i);
            for_runs(p, 0, p.length,
                     [&](std::int64_t offset, std::int64_t stride, std::int64_t rows, std::int64_t done) {
                         k(best, index, piece.columns, p.in + (piece.in + offset) * p.in_size, stride, rows, done);
                     });
            for (std::int64_t c = 0; c < piece.columns; ++c)
                std::memcpy(p.out + (piece.out + c * out_stride(p)) * 8, &index[c], 8);
        }
    });
}

void cumulative(Reduction op, const View& in, int axis, const View& out) {
    const std::string what = text("cumulative ", kNames[static_cast<int>(op)]);
    if (in.dtype != out.dtype) throw TypeError(text(what, ": of ", name(in.dtype), " into ", name(out.dtype)));
    if (!(in.shape() == out.shape()) || axis < 0 || axis >= in.layout.rank())
        throw ShapeError(text(what, ": ", to_string(in.shape()), " along ", axis, " into ", to_string(out.shape())));
    const ReduceKernels& k = kernels_of(kernels(), op, in.dtype);
    const std::int64_t length = in.shape()[axis], x_stride = in.layout.strides[axis],
                       y_stride = out.layout.strides[axis];
    View kept_out = out;
    kept_out.layout.shape.erase(axis);
    kept_out.layout.strides.erase(axis);
    Problem p = make_problem(in, Axes{axis}, kept_out);
    if (p.outputs == 0 || length == 0) return;
    if (!p.kept.empty() && p.kept.back().out == 1) choose_columns(p, 512);
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / (p.columns * length));
    parallel_for(piece_count(p), grain, [&](std::int64_t begin, std::int64_t end) {
        std::byte* a = scratch(static_cast<std::size_t>(p.columns * 8));
        for (std::int64_t i = begin; i < end; ++i) {
            const Piece piece = piece_at(p, i);
            k.fill(a, piece.columns);
            k.cumulate(a, piece.columns, p.in + piece.in * p.in_size, x_stride, p.out + piece.out * p.out_size,
                       y_stride, length);
        }
    });
}

}  // namespace tenon::tape
