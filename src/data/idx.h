// The IDX format of the MNIST files (LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist): two zero bytes, a byte for
// the element type, a byte for the rank, a big-endian 32-bit extent an axis, then the elements, row-major and
// big-endian; plain or gzip, told apart by their first bytes.
//
// Files are untrusted: memory grows with the data that is there, never with what a header claims, and inflating stops
// one byte after the size the IDX header declares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/layout.h"

namespace tenon {

/// The most bytes that a compressed IDX file may declare (a gzip stream can be a thousandth of its content).
inline constexpr std::uint64_t kMaxInflatedIdx = std::uint64_t{1} << 31;

struct IdxArray {
    /// uint8, int8, int16, int32, float32 or float64.
    DType dtype;
    /// 1 to kMaxRank axes.
    Shape shape;
    /// Row-major, in this machine's byte order.
    std::vector<std::byte> bytes;
};

/// Throws FileError naming `path` and the rule for a wrong magic, type or rank, a size that is not exactly what the
/// header declares, or a damaged gzip stream.
IdxArray parse_idx(std::span<const std::byte> file, const std::string& path);

IdxArray read_idx(const std::string& path);

}  // namespace tenon
