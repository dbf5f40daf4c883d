// IDX files: every element type, plain and compressed, and files that are not what they claim.
#include "data/idx.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "io/file.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using namespace std::string_literals;

std::string big_endian(std::uint64_t value, int bytes) {
    std::string out;
    for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
    return out;
}

std::string header(int code, std::initializer_list<std::uint32_t> extents) {
    std::string out = "\0\0"s + static_cast<char>(code) + static_cast<char>(extents.size());
    for (const auto e : extents) out += big_endian(e, 4);
    return out;
}

/// `content` and then `megabytes` of zeros, compressed without being held.
std::string gzip(const std::string& content, int megabytes = 0) {
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 16 + 15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&stream, content.size()) + static_cast<std::size_t>(megabytes) * 1100, '\0');
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    const auto feed = [&](const std::string& piece, int flush) {
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
        stream.avail_in = static_cast<uInt>(piece.size());
        return deflate(&stream, flush);
    };
    feed(content, Z_NO_FLUSH);
    const std::string zeros(megabytes > 0 ? 1 << 20 : 0, '\0');
    for (int i = 0; i < megabytes; ++i) feed(zeros, Z_NO_FLUSH);
    EXPECT_EQ(feed("", Z_FINISH), Z_STREAM_END);
    out.resize(out.size() - stream.avail_out);
    deflateEnd(&stream);
    return out;
}

IdxArray parse(const std::string& file) { return parse_idx(std::as_bytes(std::span(file)), "dir/x.idx"); }

template <class T>
std::vector<T> values(const IdxArray& array) {
    std::vector<T> out(array.bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), array.bytes.data(), array.bytes.size());
    return out;
}

template <class T>
void expect_read(const std::string& file, const std::vector<T>& expected) {
    for (const auto& form : {file, gzip(file)}) {
        const auto array = parse(form);
        EXPECT_EQ(array.dtype, dtype_for<T>);
        EXPECT_EQ(values<T>(array), expected);
    }
}

TEST(Idx, EveryElementType) {
    expect_read<std::uint8_t>(header(0x08, {3}) + "\x01\x80\xff", {1, 128, 255});
    expect_read<std::int8_t>(header(0x09, {3}) + "\x01\x80\xff", {1, -128, -1});
    expect_read<std::int16_t>(header(0x0B, {2}) + "\x01\x02\xff\xfe", {258, -2});
    expect_read<std::int32_t>(header(0x0C, {2}) + "\x01\x02\x03\x04\xff\xff\xff\xfe", {16909060, -2});
    expect_read<float>(header(0x0D, {2}) + "\x3f\x80\0\0\xc0\x20\0\0"s, {1.0f, -2.5f});
    expect_read<double>(header(0x0E, {1}) + "\xc0\x04\0\0\0\0\0\0"s, {-2.5});
}

TEST(Idx, Shapes) {
    EXPECT_EQ(parse(header(8, {2, 3}) + "abcdef").shape, Shape({2, 3}));
    EXPECT_EQ(parse(header(8, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}) + "ab").shape.rank(), 12);
    EXPECT_EQ(parse(header(8, {0})).shape, Shape({0}));
    EXPECT_EQ(parse(gzip(header(14, {5, 0, 7}))).shape, Shape({5, 0, 7}));
}

TEST(Idx, LargerThanOnePiece) {
    std::string content = header(8, {3, 1'000'000});
    for (int i = 0; i < 3'000'000; ++i) content += static_cast<char>(i * 2654435761u >> 24);
    const auto plain = parse(content), inflated = parse(gzip(content));
    EXPECT_EQ(plain.bytes, inflated.bytes);
    EXPECT_EQ(std::memcmp(plain.bytes.data(), content.data() + 12, 3'000'000), 0);
}

void expect_refused(const std::string& file, const std::string& rule) {
    try {
        parse(file);
        ADD_FAILURE() << rule << ": accepted";
    } catch (const FileError& error) {
        const std::string message = error.what();
        EXPECT_TRUE(message.starts_with("dir/x.idx: ")) << message;
        EXPECT_NE(message.find(rule), std::string::npos) << message << ", not " << rule;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
}

TEST(Idx, RefusesWhatIsNotIdx) {
    const auto both = [](const std::string& file, const std::string& rule) {
        expect_refused(file, rule);
        expect_refused(gzip(file), rule);
    };
    both("", "0 bytes end inside the IDX header");
    both("\0\0\x08"s, "3 bytes end inside the IDX header");
    both(header(8, {2}).substr(0, 7), "7 bytes end inside the IDX header");
    both("\0\1\x08\1\0\0\0\0"s, "first two bytes are not zero");
    both("PK\3\4aaaa", "first two bytes are not zero");
    both(header(0x00, {1}) + "a", "unknown IDX element type 0");
    both(header(0x0A, {1}) + "a", "unknown IDX element type 10");
    both(header(0xFF, {1}) + "a", "unknown IDX element type 255");
    both("\0\0\x08\0a"s, "IDX rank 0 is not 1 to 12");
    both("\0\0\x08\x0d"s + std::string(53, '\0'), "IDX rank 13 is not 1 to 12");
    both("\0\0\x08\xff"s, "IDX rank 255 is not 1 to 12");
    both(header(8, {3}) + "ab", "truncated: IDX uint8 (3,) takes 3 bytes, 2 are there");
    both(header(8, {3}) + "abcd", "trailing bytes after IDX uint8 (3,)");
    both(header(11, {3}) + "abcde", "truncated: IDX int16 (3,) takes 6 bytes, 5 are there");
    both(header(8, {0}) + "a", "trailing bytes");
    both(header(8, {4294967295, 4294967295}) + "a", "axis 1, 4294967295, leaves 63 bits");
    both(header(8, {65536, 65536, 65536, 65536}) + "a", "axis 3, 65536, leaves 63 bits");
    both(header(14, {4294967295, 536870912}) + "a", "leaves 63 bits");
    both(header(8, {4294967295, 4294967295, 4294967295, 0}), "leaves 63 bits");
    both(header(8, {0, 4294967295, 4294967295, 4294967295}), "leaves 63 bits");
}

TEST(Idx, RefusesDamagedGzip) {
    const auto good = gzip(header(8, {1000}) + std::string(1000, 'a'));
    for (std::size_t size = 2; size < good.size(); ++size)
        expect_refused(good.substr(0, size), "truncated gzip stream");
    for (std::size_t bit = 8 * (good.size() - 8); bit < 8 * good.size(); ++bit) {
        auto bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
        expect_refused(bad, "damaged gzip stream");  // its CRC or its length
    }
    expect_refused(good + "x", "1 trailing bytes after the gzip stream");
    expect_refused(good + good, "trailing bytes after the gzip stream");
    expect_refused(good.substr(0, 10) + std::string(20, '\xff'), "damaged gzip stream");
}

TEST(Idx, InflatesNoFurtherThanDeclared) {
    // 64 MB of zeros in 64 kB, declared as 10 bytes; a byte declared as 2 GB: refused without holding either.
    const auto bomb = gzip(header(8, {10}), 64);
    EXPECT_LT(bomb.size(), 70'000u);
    struct rusage before, after;
    ::getrusage(RUSAGE_SELF, &before);
    expect_refused(bomb, "trailing bytes after IDX uint8 (10,)");
    expect_refused(gzip(header(8, {0x80000000}) + "a"), "takes 2147483648 bytes, 1 are there");
    expect_refused(gzip(header(8, {0x80000001}) + "a"), "over the limit of 2147483648");
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 8 * 1024);
}

TEST(Idx, ReadsFilesByContentNotName) {
    const auto path = testing::TempDir() + std::to_string(::getpid()) + "labels.gz";
    const auto file = header(8, {2}) + "ab";
    for (const auto& form : {file, gzip(file)}) {
        const auto piece = std::as_bytes(std::span(form));
        write_file_atomically(path, {&piece, 1});
        EXPECT_EQ(read_idx(path).shape, Shape({2}));
    }
    ::unlink(path.c_str());
    EXPECT_THROW(read_idx(path), FileError);
}

}  // namespace
}  // namespace tenon
