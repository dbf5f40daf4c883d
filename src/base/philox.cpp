#include "base/philox.h"

#include <algorithm>

#include "base/by_isa.h"
#include "base/parallel.h"
#include "base/philox_isa.h"

namespace tenon {
namespace {

constexpr std::int64_t kWordsPerBlock = 4;
constexpr std::int64_t kGrainBlocks = 4096;  // 64 KiB: what one thread makes in some tens of microseconds

PhiloxBlocks* blocks_of(Isa isa) { return TENON_BY_ISA(isa, philox_blocks); }

}  // namespace

void philox_fill(std::uint64_t key, std::uint64_t domain, std::uint64_t first, std::span<std::uint32_t> out) {
    PhiloxBlocks* const make = blocks_of(isa());
    std::uint64_t block = first / kWordsPerBlock;
    std::uint32_t partial[kWordsPerBlock];
    if (const std::size_t skip = first % kWordsPerBlock; skip != 0 && !out.empty()) {
        make(key, domain, block++, 1, partial);
        const std::size_t words = std::min(out.size(), kWordsPerBlock - skip);
        std::copy_n(partial + skip, words, out.begin());
        out = out.subspan(words);
    }
    const auto whole = static_cast<std::int64_t>(out.size()) / kWordsPerBlock;
    parallel_for(whole, kGrainBlocks, [&](std::int64_t begin, std::int64_t end) {
        make(key, domain, block + static_cast<std::uint64_t>(begin), end - begin, out.data() + kWordsPerBlock * begin);
    });
    out = out.subspan(static_cast<std::size_t>(kWordsPerBlock * whole));
    if (!out.empty()) {
        make(key, domain, block + static_cast<std::uint64_t>(whole), 1, partial);
        std::copy_n(partial, out.size(), out.begin());
    }
}

std::uint64_t philox_derive(std::uint64_t key, std::uint64_t domain, std::uint64_t index) {
    std::uint32_t words[kWordsPerBlock];
    baseline::philox_blocks(key, domain, index, 1, words);
    return (static_cast<std::uint64_t>(words[1]) << 32) | words[0];
}

}  // namespace tenon
