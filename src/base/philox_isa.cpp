#include "base/philox_isa.h"

namespace tenon::TENON_ISA {

void philox_blocks(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::int64_t count,
                   std::uint32_t* out) {
    constexpr std::uint64_t kMultiply0 = 0xD2511F53u, kMultiply1 = 0xCD9E8D57u;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
    for (std::int64_t b = 0; b < count; ++b) {
        const std::uint64_t block = first + static_cast<std::uint64_t>(b);
        auto c0 = static_cast<std::uint32_t>(block), c1 = static_cast<std::uint32_t>(block >> 32);
        auto c2 = static_cast<std::uint32_t>(domain), c3 = static_cast<std::uint32_t>(domain >> 32);
        auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
        for (int round = 0; round < 10; ++round) {
            const std::uint64_t p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
            c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
            c1 = static_cast<std::uint32_t>(p1);
            c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
            c3 = static_cast<std::uint32_t>(p0);
            k0 += kWeyl0;
            k1 += kWeyl1;
        }
        out[4 * b] = c0;
        out[4 * b + 1] = c1;
        out[4 * b + 2] = c2;
        out[4 * b + 3] = c3;
    }
}

}  // namespace tenon::TENON_ISA
