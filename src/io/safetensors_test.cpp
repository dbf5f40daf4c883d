// Safetensors files: round trips, the bytes written, and damage found.
#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "io/checksum.h"
#include "io/safetensors_text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using Bytes = std::vector<std::byte>;

std::string path_of(const char* name) { return testing::TempDir() + std::to_string(::getpid()) + name; }

std::string text_of(const std::string& path) {
    const auto bytes = read_file(path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Bytes pattern(std::size_t size, unsigned seed) {
    Bytes bytes(size);
    std::mt19937 random(seed);
    for (auto& b : bytes) b = static_cast<std::byte>(random() & 1);
    return bytes;
}

constexpr DType kStored[] = {DType::boolean,  DType::int8,    DType::int16,  DType::int32,  DType::int64,
                             DType::uint8,    DType::uint16,  DType::uint32, DType::uint64, DType::float16,
                             DType::bfloat16, DType::float32, DType::float64};

TEST(Safetensors, RoundTripOfEveryDType) {
    const auto path = path_of("round.safetensors");
    const Shape shapes[] = {{}, {0}, {1}, {2, 3}, {4, 0, 2}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5}};
    std::vector<Bytes> data;
    std::vector<SafetensorsTensor> tensors;
    data.reserve(100);
    for (const auto dtype : kStored)
        for (const auto& shape : shapes) {
            data.push_back(pattern(static_cast<std::size_t>(count(shape)) * size_of(dtype), 7));
            tensors.push_back({"tensor " + std::to_string(tensors.size()), dtype, shape, data.back()});
        }
    const std::map<std::string, std::string> metadata = {{"step", "12"}, {"", ""}, {"\n\"\\\xc3\xa9", "\x01/"}};
    write_safetensors(path, tensors, metadata);

    const SafetensorsFile file(path);
    ASSERT_EQ(file.header().size(), tensors.size());
    for (const auto& t : tensors) {
        const auto e = file.header().find(t.name);
        ASSERT_TRUE(e) << t.name;
        EXPECT_EQ(e->dtype, t.dtype);
        EXPECT_EQ(e->shape, t.shape);
        EXPECT_EQ(e->begin % size_of(t.dtype), 0u);
        Bytes out(e->end - e->begin);
        file.read(*e, out);
        EXPECT_TRUE(std::equal(out.begin(), out.end(), t.bytes.begin(), t.bytes.end())) << t.name;
    }
    for (const auto& [key, value] : metadata) EXPECT_EQ(file.header().find_metadata(key), value);
    EXPECT_FALSE(file.header().find("t"));
    EXPECT_FALSE(file.header().find_metadata("ste"));
    EXPECT_EQ(parse_safetensors(read_file(path), path).header.size(), tensors.size());
    ::unlink(path.c_str());
}

TEST(Safetensors, BytesDependOnContentAlone) {
    const auto one = path_of("one.safetensors"), two = path_of("two.safetensors");
    const auto a = pattern(6, 1), b = pattern(8, 2), c = pattern(2, 3);
    const SafetensorsTensor x{"x", DType::int8, {6}, a}, y{"y", DType::float32, {2}, b}, z{"a", DType::int8, {2}, c};
    write_safetensors(one, {x, y, z}, {{"k", "v"}, {"a", "b"}});
    write_safetensors(two, {z, y, x}, {{"a", "b"}, {"k", "v"}});
    const auto text = text_of(one);
    EXPECT_EQ(text, text_of(two));
    const auto size = load_little_endian(std::as_bytes(std::span(text)).first<8>());
    EXPECT_EQ(size % 8, 0u);
    EXPECT_EQ(text.size(), 8 + size + 16);
    EXPECT_NE(text.find("\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                        "\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[8,10]},"
                        "\"x\":{\"dtype\":\"I8\",\"shape\":[6],\"data_offsets\":[10,16]}}"),
              std::string::npos)
        << text;
    ::unlink(one.c_str());
    ::unlink(two.c_str());
}

TEST(Safetensors, FilesOfOthersAreRead) {
    // As Hugging Face's writer makes them: no checksums, padded with spaces; here with an unsorted, spaced-out header.
    const std::string json =
        "{\"b\": {\"data_offsets\": [4, 6], \"dtype\": \"BF16\", \"shape\": []},\n \"__metadata__\": {\"format\": "
        "\"pt\"},"
        "\t\"a\": {\"dtype\": \"F32\", \"shape\": [1, 1], \"data_offsets\": [0, 4]}}   ";
    std::array<std::byte, 8> prefix;
    store_little_endian(json.size(), prefix);
    const std::string file = std::string(reinterpret_cast<const char*>(prefix.data()), 8) + json + "abcdef";
    const auto view = parse_safetensors(std::as_bytes(std::span(file)), "x");
    ASSERT_EQ(view.header.size(), 2u);
    EXPECT_EQ(view.header[0].name, "a");
    EXPECT_EQ(view.header[1].dtype, DType::bfloat16);
    EXPECT_EQ(view.header[1].shape, Shape());
    EXPECT_EQ(static_cast<char>(view.bytes(view.header[1])[0]), 'e');
    EXPECT_EQ(view.header.find_metadata("format"), "pt");
    const std::string empty = std::string("\x02\0\0\0\0\0\0\0{}", 10);
    EXPECT_EQ(parse_safetensors(std::as_bytes(std::span(empty)), "x").header.size(), 0u);
}

TEST(Safetensors, WritingRefusesWhatReadingWould) {
    const auto path = path_of("refused.safetensors");
    const auto a = pattern(4, 1);
    const auto write = [&](std::vector<SafetensorsTensor> tensors, std::map<std::string, std::string> metadata = {}) {
        write_safetensors(path, std::move(tensors), metadata);
    };
    EXPECT_THROW(write({{"a", DType::int8, {4}, a}, {"a", DType::int8, {4}, a}}), FileError);
    EXPECT_THROW(write({{"a", DType::int8, {5}, a}}), FileError);
    EXPECT_THROW(write({{"__metadata__", DType::int8, {4}, a}}), FileError);
    EXPECT_THROW(write({{std::string(kMaxSafetensorsString, 'a'), DType::int8, {4}, a}}), FileError);
    EXPECT_THROW(write({{"\xff", DType::int8, {4}, a}}), ValueError);
    EXPECT_THROW(write({}, {{"k", "\xff"}}), ValueError);
    EXPECT_THROW(write({}, {{"xxh3:a", ""}}), ValueError);
    EXPECT_THROW(write({{"a", DType::complex64, {}, a}}), TypeError);
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

std::string small_file() {
    const auto path = path_of("flip.safetensors");
    const auto a = pattern(24, 1), b = pattern(7, 2), c = pattern(3, 3);
    write_safetensors(
        path, {{"weight", DType::float32, {2, 3}, a}, {"b", DType::uint8, {7}, b}, {"mask", DType::boolean, {3}, c}},
        {{"step", "100"}});
    auto text = text_of(path);
    ::unlink(path.c_str());
    return text;
}

bool accepted(const std::string& file) {
    try {
        parse_safetensors(std::as_bytes(std::span(file)), "x");
        return true;
    } catch (const FileError&) {
        return false;
    }
}

TEST(Safetensors, EveryBitFlipInTheDataIsFound) {
    auto file = small_file();
    const auto data = 8 + load_little_endian(std::as_bytes(std::span(file)).first<8>());
    ASSERT_TRUE(accepted(file));
    ASSERT_EQ(file.size() - data, 34u);
    for (std::size_t bit = 8 * data; bit < 8 * file.size(); ++bit) {
        file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
        EXPECT_FALSE(accepted(file)) << "bit " << bit;
        file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    }
}

/// Everything a reader of the file can learn but the checksums.
std::string content(const SafetensorsView& view) {
    std::string all;
    for (std::size_t i = 0; i < view.header.size(); ++i) {
        const auto e = view.header[i];
        const auto bytes = view.bytes(e);
        all += std::string(e.name) + '|' + std::string(name(e.dtype)) + to_string(e.shape) +
               std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    for (std::size_t i = 0; i < view.header.metadata_size(); ++i) {
        const auto [key, value] = view.header.metadata(i);
        if (!key.starts_with("xxh")) all += '|' + std::string(key) + '=' + std::string(value);
    }
    return all;
}

/// Fails if `file` is accepted with other tensors or metadata than `expected`. The flip of a bit in a checksum's own
/// key adds metadata of the name "yxh3", "x|h3", ..., which a reader has no way to tell from a key that somebody chose.
void expect_refused_or_same(const std::string& file, const std::string& expected, const std::string& what) {
    try {
        const auto found = content(parse_safetensors(std::as_bytes(std::span(file)), "x"));
        if (file.find("\"xxh3\"") == std::string::npos && found.size() > expected.size()) return;
        EXPECT_EQ(found, expected) << what;
    } catch (const FileError&) {
    }
}

TEST(Safetensors, NoBitFlipAnywhereGoesUnnoticed) {
    const auto good = small_file();
    const auto expected = content(parse_safetensors(std::as_bytes(std::span(good)), "x"));
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        auto file = good;
        file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
        expect_refused_or_same(file, expected, "bit " + std::to_string(bit));
    }
}

TEST(Safetensors, TenThousandRandomFlips) {
    const auto good = small_file();
    const auto view = parse_safetensors(std::as_bytes(std::span(good)), "x");
    std::mt19937 random(5);
    int refused = 0;
    for (int trial = 0; trial < 10'000; ++trial) {
        auto file = good;
        for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
            const auto bit = random() % (8 * file.size());
            file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
        }
        try {
            const auto found = parse_safetensors(std::as_bytes(std::span(file)), "x");
            for (std::size_t i = 0; i < found.header.size(); ++i) {
                const auto e = found.header[i];
                const auto original = view.header.find(e.name);
                if (!found.header.find_metadata("xxh3:" + std::string(e.name)) || !original) continue;
                const auto a = found.bytes(e), b = view.bytes(*original);
                EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << "trial " << trial;
            }
        } catch (const FileError&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 9'900);
}

TEST(Checksum, IsXxh3) {
    // The hash of no bytes, from the definition of XXH3 with seed 0.
    EXPECT_EQ(Checksum().hex(), "99aa06d3014798d86001c324468d497f");
    Checksum whole, parts;
    const auto bytes = pattern(1000, 4);
    whole.update(bytes);
    parts.update(std::span(bytes).first(1));
    parts.update(std::span(bytes).subspan(1));
    EXPECT_EQ(whole.hex(), parts.hex());
}

}  // namespace
}  // namespace tenon
