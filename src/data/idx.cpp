#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include "base/text.h"
#include "io/file.h"
#include "tenon/error.h"

namespace tenon {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& rule) { throw FileError(text(path, ": ", rule)); }

std::optional<DType> dtype_of_code(std::byte code) {
    switch (static_cast<int>(code)) {
        case 0x08:
            return DType::uint8;
        case 0x09:
            return DType::int8;
        case 0x0B:
            return DType::int16;
        case 0x0C:
            return DType::int32;
        case 0x0D:
            return DType::float32;
        case 0x0E:
            return DType::float64;
        default:
            return std::nullopt;
    }
}

struct IdxHeader {
    DType dtype;
    Shape shape;
    /// Bytes of the header and of the elements.
    std::uint64_t size, data_size;
};

/// The header at the start of `bytes`, or nullopt if there are too few bytes to tell. Throws if it breaks a rule.
std::optional<IdxHeader> parse_header(std::span<const std::byte> bytes, const std::string& path) {
    if (bytes.size() < 4) return std::nullopt;
    if (bytes[0] != std::byte{0} || bytes[1] != std::byte{0})
        fail(path, "not an IDX file: its first two bytes are not zero");
    const auto dtype = dtype_of_code(bytes[2]);
    if (!dtype) fail(path, text("unknown IDX element type ", static_cast<int>(bytes[2])));
    const auto rank = static_cast<std::size_t>(bytes[3]);
    if (rank < 1 || rank > kMaxRank) fail(path, text("IDX rank ", rank, " is not 1 to ", kMaxRank));
    if (bytes.size() < 4 + 4 * rank) return std::nullopt;

    IdxHeader header{*dtype, {}, 4 + 4 * rank, size_of(*dtype)};
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    bool empty = false;
    for (std::size_t axis = 0; axis < rank; ++axis) {
        std::uint64_t extent = 0;
        for (std::size_t i = 0; i < 4; ++i) extent = extent << 8 | static_cast<std::uint64_t>(bytes[4 + 4 * axis + i]);
        header.shape.push_back(static_cast<std::int64_t>(extent));
        empty |= extent == 0;
        if (extent > 0 && header.data_size > kMost / extent)
            fail(path, text("the product of the IDX extents up to axis ", axis, ", ", extent, ", leaves 63 bits"));
        if (extent > 0) header.data_size *= extent;
    }
    if (empty) header.data_size = 0;
    return header;
}

[[noreturn]] void fail_short(const std::optional<IdxHeader>& header, std::uint64_t present, const std::string& path) {
    if (!header) fail(path, text("truncated: ", present, " bytes end inside the IDX header"));
    fail(path, text("truncated: IDX ", name(header->dtype), ' ', to_string(header->shape), " takes ", header->data_size,
                    " bytes, ", present - header->size, " are there"));
}

[[noreturn]] void fail_long(const IdxHeader& header, const std::string& path) {
    fail(path, text("trailing bytes after IDX ", name(header.dtype), ' ', to_string(header.shape)));
}

bool is_gzip(std::span<const std::byte> file) {
    return file.size() >= 2 && file[0] == std::byte{0x1f} && file[1] == std::byte{0x8b};
}

/// A gzip stream of one member, inflated piece by piece.
class Inflater {
  public:
    Inflater(std::span<const std::byte> file, const std::string& path) : rest_(file), path_(path) {
        if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw MemoryError(text(path, ": no memory to inflate it"));
    }
    ~Inflater() { inflateEnd(&stream_); }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    /// True once the member's end, with its CRC, has been read.
    bool ended() const { return ended_; }
    /// Compressed bytes that have not been used yet.
    std::size_t left() const { return rest_.size() + stream_.avail_in; }
    /// Appends up to `most` bytes to `out`; fewer only at the end of the stream.
    void append(std::vector<std::byte>& out, std::size_t most) {
        const auto old = out.size();
        out.resize(old + most);
        stream_.next_out = reinterpret_cast<Bytef*>(out.data() + old);
        stream_.avail_out = static_cast<uInt>(most);
        while (!ended_ && stream_.avail_out > 0) step();
        out.resize(out.size() - stream_.avail_out);
    }

  private:
    void step() {
        if (stream_.avail_in == 0) {
            const auto piece = rest_.first(std::min<std::size_t>(rest_.size(), 1 << 20));
            rest_ = rest_.subspan(piece.size());
            stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(piece.data()));
            stream_.avail_in = static_cast<uInt>(piece.size());
        }
        const int status = inflate(&stream_, Z_NO_FLUSH);
        if (status == Z_STREAM_END) ended_ = true;
        if (status == Z_BUF_ERROR) fail(path_, "truncated gzip stream");
        if (status == Z_MEM_ERROR) throw MemoryError(text(path_, ": no memory to inflate it"));
        if (status != Z_OK && status != Z_STREAM_END) fail(path_, "damaged gzip stream");
    }

    z_stream stream_{};
    std::span<const std::byte> rest_;
    const std::string& path_;
    bool ended_ = false;
};

struct Inflated {
    IdxHeader header;
    std::vector<std::byte> bytes;
};

Inflated inflate_idx(std::span<const std::byte> file, const std::string& path) {
    Inflater inflater(file, path);
    std::vector<std::byte> bytes;
    std::optional<IdxHeader> header;
    constexpr std::size_t kHeaderMost = 4 + 4 * kMaxRank;
    while (!header && !inflater.ended() && bytes.size() < kHeaderMost) {
        inflater.append(bytes, 4);
        header = parse_header(bytes, path);
    }
    if (!header) fail_short(header, bytes.size(), path);
    if (header->data_size > kMaxInflatedIdx)
        fail(path,
             text("a compressed IDX file declares ", header->data_size, " bytes, over the limit of ", kMaxInflatedIdx));

    // One byte more than declared is read, so that a stream that is too long is noticed and the stream's end checked.
    const auto total = header->size + header->data_size + 1;
    std::size_t piece = 1 << 16;
    while (!inflater.ended() && bytes.size() < total) {
        inflater.append(bytes, std::min<std::size_t>(piece, total - bytes.size()));
        piece = std::min<std::size_t>(2 * piece, 1 << 24);
    }
    if (bytes.size() >= total) fail_long(*header, path);
    if (bytes.size() < total - 1) fail_short(header, bytes.size(), path);
    if (inflater.left() > 0) fail(path, text(inflater.left(), " trailing bytes after the gzip stream"));
    return {*header, std::move(bytes)};
}

void reverse_bytes(std::span<std::byte> bytes, std::size_t element) {
    if (element == 1 || std::endian::native == std::endian::big) return;
    for (std::size_t i = 0; i < bytes.size(); i += element)
        std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                     bytes.begin() + static_cast<std::ptrdiff_t>(i + element));
}

}  // namespace

IdxArray parse_idx(std::span<const std::byte> file, const std::string& path) {
    IdxArray array{};
    if (is_gzip(file)) {
        auto [header, bytes] = inflate_idx(file, path);
        bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header.size));
        array = {header.dtype, header.shape, std::move(bytes)};
    } else {
        const auto header = parse_header(file, path);
        if (!header || file.size() - header->size < header->data_size) fail_short(header, file.size(), path);
        if (file.size() - header->size > header->data_size) fail_long(*header, path);
        const auto data = file.subspan(header->size);
        array = {header->dtype, header->shape, {data.begin(), data.end()}};
    }
    reverse_bytes(array.bytes, size_of(array.dtype));
    return array;
}

IdxArray read_idx(const std::string& path) { return parse_idx(read_file(path), path); }

}  // namespace tenon
