// The safetensors reader on arbitrary bytes: sorted tensors that are what the header says and together are the data, or
// a FileError of one line.
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "io/safetensors.h"
#include "tenon/error.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

void check(const tenon::SafetensorsView& view) {
    std::uint64_t total = 0;
    std::string_view before;
    for (std::size_t i = 0; i < view.header.size(); ++i) {
        const auto entry = view.header[i];
        const auto bytes = view.bytes(entry);
        require(i == 0 || before < entry.name);
        require(bytes.size() == static_cast<std::size_t>(tenon::count(entry.shape)) * tenon::size_of(entry.dtype));
        require(view.header.find(entry.name)->begin == entry.begin);
        total += bytes.size();
        before = entry.name;
    }
    require(total == view.data.size());
    for (std::size_t i = 0; i < view.header.metadata_size(); ++i) {
        const auto [key, value] = view.header.metadata(i);
        require(view.header.find_metadata(key) == value);
    }
}

template <class Parse>
void accept_or_refuse(Parse parse) {
    try {
        parse();
    } catch (const tenon::FileError& error) {
        require(std::strchr(error.what(), '\n') == nullptr);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    accept_or_refuse([&] {
        check(tenon::parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz"));
    });
    // The same bytes as a header whose length is right by construction, for 2^n bytes of data.
    if (size < 1) return 0;
    const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
    accept_or_refuse([&] { tenon::SafetensorsHeader(json, std::uint64_t{1} << (data[0] & 63), "fuzz"); });
    return 0;
}
