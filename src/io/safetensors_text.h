// The names of the safetensors format, for its reader and writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tenon/dtype.h"

namespace tenon {

inline constexpr std::string_view kHeaderChecksum = "xxh3";
inline constexpr std::string_view kTensorChecksum = "xxh3:";

/// "F32"; empty for the complex dtypes, which are not stored.
std::string_view safetensors_name(DType dtype);
std::optional<DType> safetensors_dtype(std::string_view name);

/// For messages: in quotes, on one line, cut after 80 bytes.
std::string in_quotes(std::string_view s);

void store_little_endian(std::uint64_t value, std::span<std::byte, 8> to);
std::uint64_t load_little_endian(std::span<const std::byte, 8> from);

}  // namespace tenon
