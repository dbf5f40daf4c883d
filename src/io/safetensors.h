// The safetensors format (github.com/huggingface/safetensors): 8 bytes, little endian, the header's length N; N bytes
// of JSON, {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {"key":
// "value"}}, padded with spaces; then the tensors' elements, row-major and little endian, without holes.
//
// Files are untrusted. Whatever a file holds, reading gives tensors that are what the file says or a FileError of one
// line naming the file, the tensor and the rule; memory stays within the size of the header, plus a quarter MB.
//
// Checksums. Files written here keep, in __metadata__, "xxh3:NAME" (XXH3 of the tensor's bytes) for every tensor and
// "xxh3" (XXH3 of what else the header says, independent of its spelling). Present ones are verified, and a "xxh3:NAME"
// must have its tensor, so any changed bit of a file written here that changes what would be read is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/file.h"
#include "tenon/dtype.h"
#include "tenon/layout.h"

namespace tenon {

/// The header may have this many bytes, one string in it (a name, a metadata value) this many, and white space or a
/// number between two strings this many. The last two bound what the JSON lexer copies.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxSafetensorsString = 128 * 1024;
inline constexpr std::size_t kMaxSafetensorsGap = 4 * 1024;

struct SafetensorsEntry {
    std::string_view name;
    DType dtype;
    Shape shape;
    /// The range of the elements, counted from the end of the header.
    std::uint64_t begin, end;
};

/// A checked header, held in fewer bytes than its JSON.
class SafetensorsHeader {
  public:
    /// Throws FileError unless `json` is a header that fits `data_size` bytes of data exactly.
    SafetensorsHeader(std::string_view json, std::uint64_t data_size, const std::string& path);

    /// Sorted by name; the views live as long as the header.
    std::size_t size() const { return tensors_.size(); }
    SafetensorsEntry operator[](std::size_t i) const;
    std::optional<SafetensorsEntry> find(std::string_view name) const;

    /// Sorted by key.
    std::size_t metadata_size() const { return metadata_.size(); }
    std::pair<std::string_view, std::string_view> metadata(std::size_t i) const;
    std::optional<std::string_view> find_metadata(std::string_view key) const;

    /// XXH3 of all names, dtypes, shapes and metadata but "xxh3" itself.
    std::string checksum() const;

  private:
    std::string records_;
    std::vector<std::uint32_t> tensors_, metadata_;
};

/// Throws FileError unless `bytes` have the checksum that `header` has for `entry`, if it has one, and, for a BOOL
/// tensor, are all 0 or 1.
void check_tensor(const SafetensorsHeader& header, const SafetensorsEntry& entry, std::span<const std::byte> bytes,
                  const std::string& path);

/// A whole file in memory, checked and verified.
struct SafetensorsView {
    SafetensorsHeader header;
    std::span<const std::byte> data;

    std::span<const std::byte> bytes(const SafetensorsEntry& e) const { return data.subspan(e.begin, e.end - e.begin); }
};
SafetensorsView parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// A file on disk. The header is read and checked when it is opened, a tensor when it is read.
class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::string& path);
    const SafetensorsHeader& header() const { return *header_; }
    /// `out` has the entry's size; its content is unspecified after a FileError.
    void read(const SafetensorsEntry& entry, std::span<std::byte> out) const;

  private:
    std::string path_;
    File file_;
    std::uint64_t data_begin_ = 0;
    std::optional<SafetensorsHeader> header_;
};

struct SafetensorsTensor {
    std::string name;
    DType dtype;
    Shape shape;
    std::span<const std::byte> bytes;
};

/// Replaces `path` atomically. Equal tensors and metadata give equal files, whatever the order of `tensors`: they are
/// stored by falling element size, then by name, so that each lies at a multiple of its element size. Throws ValueError
/// for a name or value that is not UTF-8 or a metadata key that begins with "xxh3", TypeError for a complex tensor.
void write_safetensors(const std::string& path, std::vector<SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace tenon
