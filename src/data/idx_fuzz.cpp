// The IDX reader on arbitrary bytes, and on the same bytes compressed: an array that is what its header says, or a
// FileError of one line; and compression never matters.
#include <zlib.h>

#include <cstdlib>
#include <cstring>
#include <optional>

#include "data/idx.h"
#include "tenon/error.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

std::optional<tenon::IdxArray> parse(std::span<const std::byte> file) {
    try {
        auto array = tenon::parse_idx(file, "fuzz");
        require(array.bytes.size() ==
                static_cast<std::size_t>(tenon::count(array.shape)) * tenon::size_of(array.dtype));
        return array;
    } catch (const tenon::FileError& error) {
        require(std::strchr(error.what(), '\n') == nullptr);
        return std::nullopt;
    }
}

std::vector<std::byte> gzip(std::span<const std::byte> bytes) {
    z_stream stream{};
    require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + 9, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    std::vector<std::byte> out(deflateBound(&stream, bytes.size()));
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(out.size() - stream.avail_out);
    deflateEnd(&stream);
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span file(reinterpret_cast<const std::byte*>(data), size);
    const auto plain = parse(file);
    if (size >= 2 && data[0] == 0x1f && data[1] == 0x8b) return 0;
    auto compressed = gzip(file);
    const auto inflated = parse(compressed);
    require(plain.has_value() == inflated.has_value());
    if (plain) require(plain->shape == inflated->shape && plain->bytes == inflated->bytes);
    compressed.pop_back();
    require(!parse(compressed));
    return 0;
}
