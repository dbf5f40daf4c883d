// Safetensors files made by hand to mislead a reader: each is refused with one line that names the thing.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/safetensors.h"
#include "io/safetensors_text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

std::string with_length(std::uint64_t length, const std::string& rest) {
    std::array<std::byte, 8> prefix;
    store_little_endian(length, prefix);
    return std::string(reinterpret_cast<const char*>(prefix.data()), 8) + rest;
}

std::string file_of(const std::string& json, std::size_t data_size = 0) {
    return with_length(json.size(), json + std::string(data_size, '\0'));
}

/// A file whose one tensor "w" has this entry, and 8 bytes of data.
std::string entry(const std::string& fields) { return file_of("{\"w\":{" + fields + "}}", 8); }

std::string shaped(const std::string& shape) {
    return entry("\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":[0,8]");
}

std::string placed(const std::string& offsets) {
    return entry("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + offsets);
}

std::string typed(const std::string& dtype) {
    return entry("\"dtype\":" + dtype + ",\"shape\":[2],\"data_offsets\":[0,8]");
}

/// Byte tensors at the places given, e.g. {"a", "[0,4]"}.
std::string tensors(std::initializer_list<std::pair<const char*, std::pair<int, int>>> places, std::size_t data_size) {
    std::string json = "{";
    for (const auto& [name, place] : places) {
        const auto [begin, end] = place;
        json += (json.size() > 1 ? ",\"" : "\"") + std::string(name) + "\":{\"dtype\":\"U8\",\"shape\":[" +
                std::to_string(end - begin) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
                std::to_string(end) + "]}";
    }
    return file_of(json + "}", data_size);
}

std::string metadata(const std::string& json) { return file_of("{\"__metadata__\":" + json + "}"); }

std::string repeat(const std::string& s, std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += s;
    return out;
}

struct Hostile {
    const char* name;
    std::string file;
    /// What the message must hold.
    std::string message;
};

std::vector<Hostile> hostile_files() {
    const std::string good_entry = "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]";
    return {
        {"empty_file", "", "0 bytes, too short"},
        {"seven_bytes", std::string(7, '\0'), "7 bytes, too short"},
        {"length_zero", with_length(0, ""), "does not begin with {"},
        {"length_all_ones", with_length(~std::uint64_t{0}, "{}"), "18446744073709551615 is over the limit"},
        {"length_wraps_to_file", with_length(~std::uint64_t{0} - 7, "{}"), "is over the limit"},
        {"length_minus_one_signed", with_length(std::uint64_t{1} << 63, "{}"), "is over the limit"},
        {"length_over_limit", with_length(100'000'001, "{}"), "100000001 is over the limit"},
        {"length_beyond_file", with_length(3, "{}"), "header length 3 leaves the file's 10 bytes"},
        {"length_inside_prefix", with_length(10, "{}"), "header length 10 leaves"},
        {"length_cuts_json", with_length(1, "{}"), "not UTF-8 JSON"},
        {"leading_space", file_of(" {}"), "does not begin with {"},
        {"byte_order_mark", file_of("\xEF\xBB\xBF{}"), "does not begin with {"},
        {"only_spaces", file_of("        "), "does not begin with {"},
        {"header_array", file_of("[]"), "does not begin with {"},
        {"header_number", file_of("1"), "does not begin with {"},
        {"two_documents", file_of("{}{}"), "not UTF-8 JSON"},
        {"padding_of_zeros", file_of(std::string("{}\0\0", 4)), "not UTF-8 JSON"},
        {"zero_hides_the_rest", file_of(std::string("{}\0{{{", 6)), "not UTF-8 JSON at its byte 3"},
        {"comment", file_of("{/**/}"), "not UTF-8 JSON"},
        {"trailing_comma", file_of("{\"w\":{" + good_entry + "},}", 8), "not UTF-8 JSON"},
        {"single_quotes", file_of("{'w':{}}"), "not UTF-8 JSON"},
        {"deep_objects", file_of(repeat("{\"a\":", 100000) + "1" + repeat("}", 100000)), "unknown key \"a\""},
        {"deep_arrays", file_of("{\"w\":" + repeat("[", 100000) + repeat("]", 100000) + "}"), "\"w\": an array"},
        {"deep_shape", shaped("[[2]]"), "tensor \"w\": an array stands as an extent"},
        {"deep_metadata", metadata("{\"k\":{\"k\":\"v\"}}"), "__metadata__ \"k\": an object"},
        {"tensor_is_null", file_of("{\"w\":null}"), "\"w\": null"},
        {"tensor_is_string", file_of("{\"w\":\"F32\"}"), "\"w\": the string \"F32\""},
        {"tensor_is_number", file_of("{\"w\":7}"), "\"w\": the number 7"},
        {"tensor_is_true", file_of("{\"w\":true}"), "\"w\": a boolean"},
        {"name_not_utf8", file_of("{\"\xff\":{" + good_entry + "}}", 8), "not UTF-8 JSON at its byte 3"},
        {"name_overlong_utf8", file_of("{\"\xc0\xaf\":{" + good_entry + "}}", 8), "not UTF-8 JSON"},
        {"name_surrogate_bytes", file_of("{\"\xed\xa0\x80\":{" + good_entry + "}}", 8), "not UTF-8 JSON"},
        {"name_lone_surrogate", file_of("{\"\\ud800\":{" + good_entry + "}}", 8), "not UTF-8 JSON"},
        {"name_raw_newline", file_of("{\"\n\":{" + good_entry + "}}", 8), "not UTF-8 JSON"},
        {"name_escaped_newline", file_of("{\"a\\nb\":{}}"), "tensor \"a\\x0ab\": no dtype"},
        {"name_too_long", file_of("{\"" + std::string(kMaxSafetensorsString + 1, 'n') + "\":{}}"), "is longer than"},
        {"number_too_long", shaped("[" + std::string(kMaxSafetensorsGap + 1, '1') + "]"), "is longer than"},
        {"space_too_long", shaped("[" + std::string(kMaxSafetensorsGap + 1, ' ') + "2]"), "is longer than"},
        {"duplicate_name", tensors({{"a", {0, 4}}, {"b", {4, 8}}, {"a", {8, 9}}}, 9), "tensor \"a\": duplicate name"},
        {"duplicate_name_escaped", tensors({{"a", {0, 4}}, {"\\u0061", {4, 8}}}, 8), "tensor \"a\": duplicate name"},
        {"duplicate_dtype", entry("\"dtype\":\"F32\"," + good_entry), "tensor \"w\": duplicate key \"dtype\""},
        {"duplicate_shape", entry(good_entry + ",\"shape\":[2]"), "tensor \"w\": duplicate key \"shape\""},
        {"duplicate_offsets", entry(good_entry + ",\"data_offsets\":[0,8]"), "duplicate key \"data_offsets\""},
        {"unknown_key", entry(good_entry + ",\"strides\":[1]"), "tensor \"w\": unknown key \"strides\""},
        {"key_of_other_case", entry("\"Dtype\":\"F32\""), "tensor \"w\": unknown key \"Dtype\""},
        {"no_fields", entry(""), "tensor \"w\": no dtype"},
        {"no_shape", entry("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), "tensor \"w\": no shape"},
        {"no_offsets", entry("\"dtype\":\"F32\",\"shape\":[2]"), "tensor \"w\": no data_offsets"},
        {"dtype_unknown", typed("\"F31\""), "tensor \"w\": unknown dtype \"F31\""},
        {"dtype_lower_case", typed("\"f32\""), "tensor \"w\": unknown dtype \"f32\""},
        {"dtype_empty", typed("\"\""), "tensor \"w\": unknown dtype \"\""},
        {"dtype_with_nul", typed("\"F32\\u0000\""), "unknown dtype \"F32\\x00\""},
        {"dtype_number", typed("32"), "the number 32 stands as \"dtype\""},
        {"dtype_null", typed("null"), "null stands as \"dtype\""},
        {"dtype_of_other_size", typed("\"F64\""), "F64 (2,) takes 16"},
        {"shape_nan", shaped("[NaN]"), "not UTF-8 JSON"},
        {"shape_infinity", shaped("[1e999]"), "not UTF-8 JSON"},
        {"shape_negative", shaped("[-2]"), "tensor \"w\": the negative number -2 stands as an extent"},
        {"shape_two_negatives", shaped("[-1,-2]"), "tensor \"w\": the negative number -1"},
        {"shape_fraction", shaped("[2.5]"), "tensor \"w\": the number 2.5, no integer"},
        {"shape_float_integer", shaped("[2.0]"), "tensor \"w\": the number 2.0, no integer"},
        {"shape_exponent", shaped("[2e0]"), "tensor \"w\": the number 2e0, no integer"},
        {"shape_string", shaped("[\"2\"]"), "tensor \"w\": the string \"2\""},
        {"shape_null", shaped("[null]"), "tensor \"w\": null stands as an extent"},
        {"shape_object", shaped("{}"), "tensor \"w\": an object stands as \"shape\""},
        {"shape_number", shaped("2"), "tensor \"w\": the number 2 stands as \"shape\""},
        {"shape_leading_zero", shaped("[02]"), "not UTF-8 JSON"},
        {"shape_hexadecimal", shaped("[0x2]"), "not UTF-8 JSON"},
        {"shape_beyond_u64", shaped("[18446744073709551616]"), "18446744073709551616, no integer of 64 bits"},
        {"shape_beyond_i64", shaped("[9223372036854775808]"), "the extent 9223372036854775808 leaves 63 bits"},
        {"shape_wraps_to_two", shaped("[4294967296,4294967296,2]"), "leaves 63 bits"},
        {"shape_bytes_wrap", shaped("[4611686018427387906]"), "leaves 63 bits"},
        {"shape_zero_hides_overflow", shaped("[9223372036854775807,9223372036854775807,0]"), "leaves 63 bits"},
        {"shape_too_small", shaped("[1]"), "hold 8 bytes, where F32 (1,) takes 4"},
        {"shape_too_large", shaped("[3]"), "hold 8 bytes, where F32 (3,) takes 12"},
        {"shape_scalar_of_two", shaped("[]"), "hold 8 bytes, where F32 () takes 4"},
        {"rank_13", shaped("[1,1,1,1,1,1,1,1,1,1,1,1,2]"), "shape has more than 12 axes"},
        {"rank_huge", shaped("[" + repeat("1,", 1000000) + "2]"), "shape has more than 12 axes"},
        {"offsets_reversed", placed("[8,0]"), "data_offsets [8, 0] are reversed"},
        {"offsets_beyond_data", placed("[8,16]"), "data_offsets [8, 16] leave the 8 bytes"},
        {"offsets_end_huge", placed("[0,18446744073709551615]"), "leave the 8 bytes"},
        {"offsets_begin_wraps", placed("[18446744073709551608,18446744073709551615]"), "leave the 8 bytes"},
        {"offsets_negative", placed("[-8,0]"), "negative number -8 stands in data_offsets"},
        {"offsets_fraction", placed("[0,8.0]"), "the number 8.0, no integer"},
        {"offsets_none", placed("[]"), "fewer than 2 numbers"},
        {"offsets_one", placed("[0]"), "fewer than 2 numbers"},
        {"offsets_three", placed("[0,8,8]"), "more than 2 numbers"},
        {"offsets_string", placed("\"0,8\""), "stands as \"data_offsets\""},
        {"overlap", tensors({{"a", {0, 5}}, {"b", {4, 8}}}, 8), "tensor \"b\": its data overlaps that of tensor \"a\""},
        {"same_place", tensors({{"a", {0, 8}}, {"b", {0, 8}}}, 8), "its data overlaps that of tensor"},
        {"inside", tensors({{"a", {0, 8}}, {"b", {2, 4}}}, 8), "tensor \"b\": its data overlaps"},
        {"empty_inside", tensors({{"a", {0, 8}}, {"b", {4, 4}}}, 8), "tensor \"b\": its data overlaps"},
        {"hole", tensors({{"a", {0, 3}}, {"b", {4, 8}}}, 8), "tensor \"b\": a hole of 1 bytes"},
        {"hole_at_start", tensors({{"a", {1, 8}}}, 8), "tensor \"a\": a hole of 1 bytes"},
        {"trailing_bytes", tensors({{"a", {0, 7}}}, 8), "1 trailing bytes"},
        {"data_without_tensors", file_of("{}", 3), "3 trailing bytes"},
        {"truncated_data", tensors({{"a", {0, 9}}}, 8), "leave the 8 bytes"},
        {"metadata_number", metadata("{\"step\":1}"), "__metadata__ \"step\": the number 1"},
        {"metadata_null", metadata("{\"step\":null}"), "__metadata__ \"step\": null"},
        {"metadata_list", metadata("{\"step\":[\"1\"]}"), "__metadata__ \"step\": an array"},
        {"metadata_string", metadata("\"x\""), "\"__metadata__\": the string \"x\""},
        {"metadata_array", metadata("[]"), "\"__metadata__\": an array"},
        {"metadata_twice", metadata("{},\"__metadata__\":{}"), "duplicate key \"__metadata__\""},
        {"metadata_key_twice", metadata("{\"k\":\"1\",\"k\":\"2\"}"), "__metadata__: duplicate key \"k\""},
        {"metadata_not_utf8", metadata("{\"k\":\"\x80\"}"), "not UTF-8 JSON"},
        {"checksum_without_tensor", metadata("{\"xxh3:w\":\"00\"}"), "\"xxh3:w\": a checksum without its tensor"},
        {"checksum_wrong_tensor", file_of("{\"__metadata__\":{\"xxh3:w\":\"00\"},\"w\":{" + good_entry + "}}", 8),
         "tensor \"w\": checksum differs"},
        {"checksum_wrong_header", metadata("{\"xxh3\":\"00\"}"), "header checksum differs"},
        {"bool_of_two",
         with_length(55, "{\"w\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}" + std::string("\x01\x02")),
         "tensor \"w\": BOOL element 1 is 2"},
    };
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

TEST(HostileSafetensors, EachIsRefusedByName) {
    const auto files = hostile_files();
    EXPECT_GE(files.size(), 40u);
    for (const auto& hostile : files) {
        try {
            parse_safetensors(bytes_of(hostile.file), "dir/x.safetensors");
            ADD_FAILURE() << hostile.name << " was accepted";
        } catch (const FileError& error) {
            const std::string message = error.what();
            EXPECT_TRUE(message.starts_with("dir/x.safetensors: ")) << hostile.name << ": " << message;
            EXPECT_NE(message.find(hostile.message), std::string::npos) << hostile.name << ": " << message;
            EXPECT_EQ(message.find('\n'), std::string::npos) << hostile.name << ": " << message;
            EXPECT_LT(message.size(), 400u) << hostile.name;
        }
    }
}

TEST(HostileSafetensors, TheFileOnDiskIsRefusedAlike) {
    const auto path = testing::TempDir() + std::to_string(::getpid()) + "hostile.safetensors";
    for (const auto& hostile : hostile_files()) {
        const auto piece = bytes_of(hostile.file);
        write_file_atomically(path, {&piece, 1});
        try {
            const SafetensorsFile file(path);
            for (std::size_t i = 0; i < file.header().size(); ++i) {
                const auto e = file.header()[i];
                std::vector<std::byte> out(e.end - e.begin);
                file.read(e, out);
            }
            ADD_FAILURE() << hostile.name << " was accepted";
        } catch (const FileError& error) {
            EXPECT_NE(std::string(error.what()).find(hostile.message), std::string::npos) << error.what();
        }
    }
    ::unlink(path.c_str());
}

TEST(HostileSafetensors, NoRegularFile) {
    EXPECT_THROW(SafetensorsFile("/dev/zero"), FileError);
    EXPECT_THROW(SafetensorsFile("/tmp"), FileError);
    EXPECT_THROW(SafetensorsFile("/nowhere/x"), FileError);
    EXPECT_THROW(SafetensorsFile(std::string("/tmp/\0x", 7)), FileError);
}

/// Peak memory, in bytes, that parsing `file` adds to a child process.
std::int64_t growth(const std::string& file) {
    int channel[2];
    if (::pipe(channel) != 0) return -1;
    const auto child = ::fork();
    if (child == 0) {
        struct rusage before, after;
        ::getrusage(RUSAGE_SELF, &before);
        try {
            parse_safetensors(bytes_of(file), "x");
        } catch (const Error&) {
        }
        ::getrusage(RUSAGE_SELF, &after);
        const std::int64_t kilobytes = after.ru_maxrss - before.ru_maxrss;
        ::_exit(::write(channel[1], &kilobytes, sizeof kilobytes) == sizeof kilobytes ? 0 : 1);
    }
    std::int64_t kilobytes = -1;
    const auto n = ::read(channel[0], &kilobytes, sizeof kilobytes);
    ::close(channel[0]);
    ::close(channel[1]);
    ::waitpid(child, nullptr, 0);
    return n == sizeof kilobytes ? kilobytes * 1024 : -1;
}

#ifdef __has_feature
constexpr bool kSanitizer = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitizer = true;
#else
constexpr bool kSanitizer = false;
#endif

TEST(HostileSafetensors, MemoryStaysWithinTheFile) {
    if (kSanitizer) GTEST_SKIP() << "a sanitizer's own memory hides the reader's";
    // Headers that would cost many times their size as a map of objects. The file itself is held once, so the parse may
    // add as much again, and 1 MB.
    std::string many_tensors = "{", many_metadata = "{\"__metadata__\":{";
    for (int i = 0; many_tensors.size() < 8'000'000; ++i)
        many_tensors += "\"" + std::to_string(i) +
                        "\":{\"dtype\":\"U8\",\"shape\":[0,1,1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,0]},";
    for (int i = 0; many_metadata.size() < 8'000'000; ++i) many_metadata += "\"" + std::to_string(i) + "\":\"\",";
    many_tensors.back() = '}';
    many_metadata.back() = '}';
    const std::string string = "\"" + std::string(kMaxSafetensorsString - 10, 'v') + "\"";
    const std::string files[] = {file_of(many_tensors),
                                 file_of(many_metadata + "}"),
                                 metadata("{" + string + ":" + string + "}"),
                                 metadata("{" + string + "}"),
                                 metadata("{\"k\":" + repeat(" \t\n", 1300) + "}"),
                                 shaped("[" + repeat("1,", 4'000'000) + "2]")};
    // What a child touches to refuse a file of 10 bytes: code, stack, the unwinder's tables.
    const auto fixed = growth(with_length(2, "{]"));
    for (const auto& file : files) {
        const auto bytes = growth(file) - fixed;
        EXPECT_LE(bytes, static_cast<std::int64_t>(file.size()) + 1'000'000) << file.substr(8, 60);
    }
}

}  // namespace
}  // namespace tenon
