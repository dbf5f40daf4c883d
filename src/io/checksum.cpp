#include "io/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <new>

namespace tenon {
namespace {

const XXH3_state_t* state_in(const std::byte* bytes) {
    return std::launder(reinterpret_cast<const XXH3_state_t*>(bytes));
}

}  // namespace

Checksum::Checksum() {
    static_assert(sizeof(state_) == sizeof(XXH3_state_t) && alignof(Checksum) == alignof(XXH3_state_t));
    XXH3_128bits_reset(new (state_) XXH3_state_t);
}

void Checksum::update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(const_cast<XXH3_state_t*>(state_in(state_)), bytes.data(), bytes.size());
}

std::string Checksum::hex() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_in(state_)));
    std::string digits;
    for (const unsigned char byte : canonical.digest) {
        digits += "0123456789abcdef"[byte >> 4];
        digits += "0123456789abcdef"[byte & 15];
    }
    return digits;
}

}  // namespace tenon
