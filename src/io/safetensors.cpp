#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "io/checksum.h"
#include "io/safetensors_text.h"
#include "tenon/error.h"

namespace tenon {

// Elements are stored as they lie in memory.
static_assert(std::endian::native == std::endian::little);

namespace {

struct DTypeName {
    DType dtype;
    std::string_view name;
};
constexpr DTypeName kDTypeNames[] = {
    {DType::boolean, "BOOL"}, {DType::int8, "I8"},     {DType::int16, "I16"},     {DType::int32, "I32"},
    {DType::int64, "I64"},    {DType::uint8, "U8"},    {DType::uint16, "U16"},    {DType::uint32, "U32"},
    {DType::uint64, "U64"},   {DType::float16, "F16"}, {DType::bfloat16, "BF16"}, {DType::float32, "F32"},
    {DType::float64, "F64"},
};

std::string tensor_checksum(std::span<const std::byte> bytes) {
    Checksum sum;
    sum.update(bytes);
    return sum.hex();
}

/// The header's length, from the first 8 bytes of a file.
std::uint64_t header_size(std::span<const std::byte, 8> prefix, std::uint64_t file_size, const std::string& path) {
    const auto size = load_little_endian(prefix);
    if (size > kMaxSafetensorsHeader)
        throw FileError(text(path, ": header length ", size, " is over the limit of ", kMaxSafetensorsHeader));
    if (size > file_size - 8)
        throw FileError(text(path, ": header length ", size, " leaves the file's ", file_size, " bytes"));
    return size;
}

void require_prefix(std::uint64_t file_size, const std::string& path) {
    if (file_size < 8) throw FileError(text(path, ": ", file_size, " bytes, too short for a safetensors file"));
}

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string json_string(const std::string& s) {
    try {
        return nlohmann::json(s).dump();
    } catch (const nlohmann::json::exception&) {
        throw ValueError(text("save: ", in_quotes(s), " is not UTF-8"));
    }
}

/// The JSON header of tensors that follow each other in the order given, without length and padding.
std::string header_json(const std::vector<SafetensorsTensor>& tensors,
                        const std::map<std::string, std::string>& metadata) {
    std::string json = "{\"__metadata__\":{";
    for (const auto& [key, value] : metadata) json += text(json_string(key), ':', json_string(value), ',');
    if (!metadata.empty()) json.pop_back();
    json += '}';
    std::uint64_t offset = 0;
    for (const auto& t : tensors) {
        std::string shape;
        for (const auto extent : t.shape) shape += text(shape.empty() ? "" : ",", extent);
        json += text(',', json_string(t.name), ":{\"dtype\":\"", safetensors_name(t.dtype), "\",\"shape\":[", shape,
                     "],\"data_offsets\":[", offset, ',', offset + t.bytes.size(), "]}");
        offset += t.bytes.size();
    }
    return json + '}';
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
    for (const auto& d : kDTypeNames)
        if (d.dtype == dtype) return d.name;
    return {};
}

std::optional<DType> safetensors_dtype(std::string_view name) {
    for (const auto& d : kDTypeNames)
        if (d.name == name) return d.dtype;
    return std::nullopt;
}

std::string in_quotes(std::string_view s) {
    constexpr std::size_t kMost = 80;
    std::string out = "\"";
    for (const char c : s.substr(0, kMost)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 32 || byte == 127)
            out += text("\\x", "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]);
        else
            out += c;
    }
    return out + (s.size() > kMost ? "...\"" : "\"");
}

void store_little_endian(std::uint64_t value, std::span<std::byte, 8> to) {
    for (std::size_t i = 0; i < 8; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint64_t load_little_endian(std::span<const std::byte, 8> from) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) value |= static_cast<std::uint64_t>(from[i]) << (8 * i);
    return value;
}

void check_tensor(const SafetensorsHeader& header, const SafetensorsEntry& entry, std::span<const std::byte> bytes,
                  const std::string& path) {
    const auto stored = header.find_metadata(std::string(kTensorChecksum) + std::string(entry.name));
    if (stored && *stored != tensor_checksum(bytes))
        throw FileError(text(path, ": tensor ", in_quotes(entry.name), ": checksum differs: its data was damaged"));
    if (entry.dtype != DType::boolean) return;
    const auto bad = std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; });
    if (bad != bytes.end())
        throw FileError(text(path, ": tensor ", in_quotes(entry.name), ": BOOL element ", bad - bytes.begin(), " is ",
                             static_cast<int>(*bad), ", neither 0 nor 1"));
}

SafetensorsView parse_safetensors(std::span<const std::byte> file, const std::string& path) {
    require_prefix(file.size(), path);
    const auto size = header_size(file.first<8>(), file.size(), path);
    const auto data = file.subspan(8 + size);
    SafetensorsView view{SafetensorsHeader(as_text(file.subspan(8, size)), data.size(), path), data};
    for (std::size_t i = 0; i < view.header.size(); ++i)
        check_tensor(view.header, view.header[i], view.bytes(view.header[i]), path);
    return view;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path), file_(path) {
    const auto file_size = file_.size();
    require_prefix(file_size, path);
    std::array<std::byte, 8> prefix;
    file_.read(0, prefix);
    const auto size = header_size(prefix, file_size, path);
    std::vector<std::byte> json(size);
    file_.read(8, json);
    data_begin_ = 8 + size;
    header_.emplace(as_text(json), file_size - data_begin_, path);
}

void SafetensorsFile::read(const SafetensorsEntry& entry, std::span<std::byte> out) const {
    file_.read(data_begin_ + entry.begin, out);
    check_tensor(*header_, entry, out, path_);
}

void write_safetensors(const std::string& path, std::vector<SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
    for (const auto& [key, value] : metadata)
        if (key.starts_with(kHeaderChecksum))
            throw ValueError(text("save: metadata key ", in_quotes(key), " begins with \"xxh3\", kept for checksums"));
    for (const auto& t : tensors)
        if (safetensors_name(t.dtype).empty())
            throw TypeError(text("save: tensor ", in_quotes(t.name), ": ", name(t.dtype), " has no safetensors form"));
    std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
        const auto x = size_of(a.dtype), y = size_of(b.dtype);
        return x != y ? x > y : a.name < b.name;
    });

    auto full = metadata;
    std::uint64_t data_size = 0;
    for (const auto& t : tensors) {
        full[std::string(kTensorChecksum) + t.name] = tensor_checksum(t.bytes);
        data_size += t.bytes.size();
    }
    // The reader's own rules (duplicates, sizes, lengths) hold for what is written.
    full[std::string(kHeaderChecksum)] = SafetensorsHeader(header_json(tensors, full), data_size, path).checksum();
    auto json = header_json(tensors, full);
    json.resize((json.size() + 7) / 8 * 8, ' ');
    if (json.size() > kMaxSafetensorsHeader)
        throw FileError(text(path, ": header length ", json.size(), " is over the limit of ", kMaxSafetensorsHeader));

    std::array<std::byte, 8> prefix;
    store_little_endian(json.size(), prefix);
    std::vector<std::span<const std::byte>> pieces = {prefix, std::as_bytes(std::span(json))};
    for (const auto& t : tensors) pieces.push_back(t.bytes);
    write_file_atomically(path, pieces);
}

}  // namespace tenon
