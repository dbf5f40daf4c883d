// From the JSON header to checked entries.
#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "io/checksum.h"
#include "io/safetensors.h"
#include "io/safetensors_text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::string_view kMetadata = "__metadata__";

// The header is kept as records of bytes rather than as objects, which would allocate. A number is stored in bytes of 7
// bits, the low ones first, with the top bit set in all but the last: never longer than its decimal digits and a comma.

void put_number(std::string& to, std::uint64_t value) {
    for (; value >= 128; value >>= 7) to += static_cast<char>(value | 128);
    to += static_cast<char>(value);
}

void put_string(std::string& to, std::string_view s) {
    put_number(to, s.size());
    to += s;
}

/// Reads the records back.
class Records {
  public:
    Records(const std::string& from, std::uint32_t at) : from_(from), at_(at) {}
    std::uint64_t number() {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<unsigned char>(from_[at_++]);
            value |= static_cast<std::uint64_t>(byte & 127) << shift;
            if (byte < 128) return value;
        }
    }
    std::string_view string() {
        const auto size = number();
        at_ += size;
        return std::string_view(from_).substr(at_ - size, size);
    }

  private:
    const std::string& from_;
    std::size_t at_;
};

SafetensorsEntry entry_at(const std::string& records, std::uint32_t at) {
    Records r(records, at);
    SafetensorsEntry e{r.string(), static_cast<DType>(r.number()), {}, 0, 0};
    for (auto rank = r.number(); rank > 0; --rank) e.shape.push_back(static_cast<std::int64_t>(r.number()));
    e.begin = r.number();
    e.end = r.number();
    return e;
}

std::string_view key_at(const std::string& records, std::uint32_t at) { return Records(records, at).string(); }

/// The bytes of a tensor; nullopt if the product of its extents other than 0 does not fit 63 bits, because no view of
/// such a tensor could have strides.
std::optional<std::uint64_t> bytes_of(const Shape& shape, DType dtype) {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    std::uint64_t bytes = size_of(dtype);
    bool empty = false;
    for (const auto extent : shape) {
        if (extent == 0) empty = true;
        if (extent > 0 && bytes > kMost / static_cast<std::uint64_t>(extent)) return std::nullopt;
        if (extent > 0) bytes *= static_cast<std::uint64_t>(extent);
    }
    return empty ? 0 : bytes;
}

/// The handler of nlohmann's SAX interface. It accepts a value only where the format has one: the first other value
/// ends the parse, so nothing nests deeper than the format does.
class HeaderReader {
  public:
    std::string records;
    std::vector<std::uint32_t> tensors, metadata;
    /// The error, first the tensor and then the rule; empty if there is none.
    std::string problem;

    explicit HeaderReader(std::uint64_t data_size) : data_size_(data_size) {}

    bool null() { return misplaced("null"); }
    bool boolean(bool) { return misplaced("a boolean"); }
    bool number_float(double, const std::string& digits) {
        return misplaced(text("the number ", digits.substr(0, 40), ", no integer of 64 bits,"));
    }
    bool number_integer(std::int64_t value) { return misplaced(text("the negative number ", value)); }
    bool number_unsigned(std::uint64_t value) {
        if (place_ == Place::shape) return extent(value);
        if (place_ != Place::offsets) return misplaced(text("the number ", value));
        if (offset_count_ == 2) return refuse("data_offsets has more than 2 numbers");
        offsets_[offset_count_++] = value;
        return true;
    }
    bool string(std::string& value) {
        if (place_ == Place::metadata) {
            metadata.push_back(static_cast<std::uint32_t>(records.size()));
            put_string(records, key_);
            put_string(records, value);
            return true;
        }
        if (place_ != Place::entry || key_ != "dtype") return misplaced(text("the string ", in_quotes(value)));
        const auto dtype = safetensors_dtype(value);
        if (!dtype) return refuse(text("unknown dtype ", in_quotes(value)));
        entry_.dtype = *dtype;
        return true;
    }
    bool binary(nlohmann::json::binary_t&) { return misplaced("binary data"); }
    bool key(std::string& key) {
        if (place_ == Place::entry && !mark(key)) return false;
        key_ = key;
        return true;
    }
    bool start_object(std::size_t) {
        if (place_ == Place::start) {
            place_ = Place::top;
        } else if (place_ == Place::top && key_ == kMetadata) {
            if (has_metadata_) return refuse(text("duplicate key \"", kMetadata, '"'));
            has_metadata_ = true;
            place_ = Place::metadata;
        } else if (place_ == Place::top) {
            place_ = Place::entry;
            name_ = key_;
            seen_ = {};
            entry_ = {};
            offset_count_ = 0;
        } else {
            return misplaced("an object");
        }
        return true;
    }
    bool end_object() {
        if (place_ == Place::entry && !finish_entry()) return false;
        place_ = Place::top;
        return true;
    }
    bool start_array(std::size_t) {
        if (place_ == Place::entry && key_ == "shape") {
            place_ = Place::shape;
        } else if (place_ == Place::entry && key_ == "data_offsets") {
            place_ = Place::offsets;
        } else {
            return misplaced("an array");
        }
        return true;
    }
    bool end_array() {
        place_ = Place::entry;
        return true;
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
        problem = text("header is not UTF-8 JSON at its byte ", position);
        return false;
    }

  private:
    enum class Place { start, top, metadata, entry, shape, offsets };
    static constexpr std::array<std::string_view, 3> kKeys = {"dtype", "shape", "data_offsets"};

    bool refuse(const std::string& rule) {
        const bool in_entry = place_ == Place::entry || place_ == Place::shape || place_ == Place::offsets;
        problem = in_entry ? text("tensor ", in_quotes(name_), ": ", rule) : rule;
        return false;
    }
    bool misplaced(const std::string& value) {
        switch (place_) {
            case Place::start:
                return refuse(text("header is ", value, ", not an object"));
            case Place::top:
                return refuse(text(in_quotes(key_), ": ", value, " stands where an object must"));
            case Place::metadata:
                return refuse(text(kMetadata, " ", in_quotes(key_), ": ", value, " stands where a string must"));
            case Place::entry:
                return refuse(text(value, " stands as ", in_quotes(key_)));
            case Place::shape:
                return refuse(text(value, " stands as an extent of shape"));
            default:
                return refuse(text(value, " stands in data_offsets"));
        }
    }
    /// Accepts each of the three keys once, and no other.
    bool mark(const std::string& key) {
        const auto at = static_cast<std::size_t>(std::find(kKeys.begin(), kKeys.end(), key) - kKeys.begin());
        if (at == kKeys.size()) return refuse(text("unknown key ", in_quotes(key)));
        if (seen_[at]) return refuse(text("duplicate key ", in_quotes(key)));
        return seen_[at] = true;
    }
    bool extent(std::uint64_t value) {
        if (entry_.shape.rank() == kMaxRank) return refuse(text("shape has more than ", kMaxRank, " axes"));
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return refuse(text("the extent ", value, " leaves 63 bits"));
        entry_.shape.push_back(static_cast<std::int64_t>(value));
        return true;
    }
    bool finish_entry() {
        for (std::size_t i = 0; i < kKeys.size(); ++i)
            if (!seen_[i]) return refuse(text("no ", kKeys[i]));
        if (offset_count_ != 2) return refuse("data_offsets has fewer than 2 numbers");
        const auto [begin, end] = offsets_;
        const auto where = text("data_offsets [", begin, ", ", end, "]");
        if (begin > end) return refuse(text(where, " are reversed"));
        if (end > data_size_) return refuse(text(where, " leave the ", data_size_, " bytes of data"));
        const auto bytes = bytes_of(entry_.shape, entry_.dtype);
        if (!bytes) return refuse(text("the product of the extents ", to_string(entry_.shape), " leaves 63 bits"));
        if (*bytes != end - begin)
            return refuse(text(where, " hold ", end - begin, " bytes, where ", safetensors_name(entry_.dtype), ' ',
                               to_string(entry_.shape), " takes ", *bytes));
        tensors.push_back(static_cast<std::uint32_t>(records.size()));
        put_string(records, name_);
        put_number(records, static_cast<std::uint64_t>(entry_.dtype));
        put_number(records, static_cast<std::uint64_t>(entry_.shape.rank()));
        for (const auto extent : entry_.shape) put_number(records, static_cast<std::uint64_t>(extent));
        put_number(records, begin);
        put_number(records, end);
        return true;
    }

    std::uint64_t data_size_;
    Place place_ = Place::start;
    std::string key_, name_;
    bool has_metadata_ = false;
    std::array<bool, 3> seen_{};
    SafetensorsEntry entry_{};
    std::array<std::uint64_t, 2> offsets_{};
    std::size_t offset_count_ = 0;
};

/// The lexer copies strings, and numbers with the white space before them. This checks that they are short enough;
/// empty if so.
std::string find_long_token(std::string_view json) {
    bool in_string = false;
    std::size_t start = 0;
    for (std::size_t i = 0; i < json.size(); ++i) {
        if (in_string && json[i] == '\\') {
            ++i;
        } else if (json[i] == '"') {
            in_string = !in_string;
            start = i;
        } else if (!in_string && std::string_view("{}[]:,").find(json[i]) != std::string_view::npos) {
            start = i;
        }
        if (in_string && i - start > kMaxSafetensorsString)
            return text("the string at byte ", start, " of the header is longer than ", kMaxSafetensorsString,
                        " bytes");
        if (!in_string && i - start > kMaxSafetensorsGap)
            return text("white space or a number at byte ", start, " of the header is longer than ", kMaxSafetensorsGap,
                        " bytes");
    }
    return {};
}

/// Sorts records by their string and returns the first string that occurs twice.
std::optional<std::string_view> sort_by_key(const std::string& records, std::vector<std::uint32_t>& index) {
    std::sort(index.begin(), index.end(),
              [&](std::uint32_t a, std::uint32_t b) { return key_at(records, a) < key_at(records, b); });
    const auto twice = std::adjacent_find(index.begin(), index.end(), [&](std::uint32_t a, std::uint32_t b) {
        return key_at(records, a) == key_at(records, b);
    });
    if (twice == index.end()) return std::nullopt;
    return key_at(records, *twice);
}

/// The error in the tensors' offsets, which must follow each other from 0 to the end; empty if there is none.
std::string find_gap(const std::string& records, std::vector<std::uint32_t> index, std::uint64_t data_size) {
    std::sort(index.begin(), index.end(), [&](std::uint32_t a, std::uint32_t b) {
        const auto x = entry_at(records, a), y = entry_at(records, b);
        return std::pair(x.begin, x.end) < std::pair(y.begin, y.end);
    });
    std::uint64_t covered = 0;
    std::string_view before;
    for (const auto at : index) {
        const auto e = entry_at(records, at);
        if (e.begin < covered)
            return text("tensor ", in_quotes(e.name), ": its data overlaps that of tensor ", in_quotes(before));
        if (e.begin > covered)
            return text("tensor ", in_quotes(e.name), ": a hole of ", e.begin - covered, " bytes lies before its data");
        covered = e.end;
        before = e.name;
    }
    if (covered < data_size) return text(data_size - covered, " trailing bytes belong to no tensor");
    return {};
}

template <class Key>
std::optional<std::uint32_t> find_record(const std::string& records, const std::vector<std::uint32_t>& index, Key key) {
    const auto at = std::lower_bound(index.begin(), index.end(), key,
                                     [&](std::uint32_t a, std::string_view k) { return key_at(records, a) < k; });
    if (at == index.end() || key_at(records, *at) != key) return std::nullopt;
    return *at;
}

}  // namespace

SafetensorsHeader::SafetensorsHeader(std::string_view json, std::uint64_t data_size, const std::string& path) {
    const auto require_none = [&](const std::string& problem) {
        if (!problem.empty()) throw FileError(text(path, ": ", problem));
    };
    while (!json.empty() && json.back() == ' ') json.remove_suffix(1);
    if (!json.starts_with('{')) require_none("header does not begin with {");
    // The lexer would take a zero byte for the end of its input.
    if (const auto zero = json.find('\0'); zero != std::string_view::npos)
        require_none(text("header is not UTF-8 JSON at its byte ", zero + 1));
    require_none(find_long_token(json));

    HeaderReader reader(data_size);
    reader.records.reserve(json.size());
    nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
    require_none(reader.problem);
    if (const auto name = sort_by_key(reader.records, reader.tensors))
        require_none(text("tensor ", in_quotes(*name), ": duplicate name"));
    if (const auto key = sort_by_key(reader.records, reader.metadata))
        require_none(text(kMetadata, ": duplicate key ", in_quotes(*key)));
    require_none(find_gap(reader.records, reader.tensors, data_size));
    records_ = std::move(reader.records);
    tensors_ = std::move(reader.tensors);
    metadata_ = std::move(reader.metadata);

    for (std::size_t i = 0; i < metadata_size(); ++i) {
        const auto key = metadata(i).first;
        if (key.starts_with(kTensorChecksum) && !find(key.substr(kTensorChecksum.size())))
            require_none(text(kMetadata, " ", in_quotes(key), ": a checksum without its tensor"));
    }
    if (const auto stored = find_metadata(kHeaderChecksum); stored && *stored != checksum())
        require_none("header checksum differs: names, shapes or metadata were changed since the file was written");
}

SafetensorsEntry SafetensorsHeader::operator[](std::size_t i) const { return entry_at(records_, tensors_[i]); }

std::optional<SafetensorsEntry> SafetensorsHeader::find(std::string_view name) const {
    const auto at = find_record(records_, tensors_, name);
    return at ? std::optional(entry_at(records_, *at)) : std::nullopt;
}

std::pair<std::string_view, std::string_view> SafetensorsHeader::metadata(std::size_t i) const {
    Records r(records_, metadata_[i]);
    const auto key = r.string();
    return {key, r.string()};
}

std::optional<std::string_view> SafetensorsHeader::find_metadata(std::string_view key) const {
    const auto at = find_record(records_, metadata_, key);
    if (!at) return std::nullopt;
    Records r(records_, *at);
    r.string();
    return r.string();
}

std::string SafetensorsHeader::checksum() const {
    Checksum sum;
    // Each string is hashed with its length, so that no two headers give the same bytes.
    const auto update = [&](std::string_view s) {
        std::array<std::byte, 8> size;
        store_little_endian(s.size(), size);
        sum.update(size);
        sum.update(std::as_bytes(std::span(s)));
    };
    for (std::size_t i = 0; i < this->size(); ++i) {
        const auto e = (*this)[i];
        update(e.name);
        update(safetensors_name(e.dtype));
        update(to_string(e.shape));
    }
    for (std::size_t i = 0; i < metadata_size(); ++i) {
        const auto [key, value] = metadata(i);
        if (key == kHeaderChecksum) continue;
        update(key);
        update(value);
    }
    return sum.hex();
}

}  // namespace tenon
