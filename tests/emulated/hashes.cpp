#include "hashes.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/cpu.h"

namespace tenon::hashes {
namespace {

/// A bijection of 64 bits without pattern (the finalizer of a multiplicative hash).
std::uint64_t mix(std::uint64_t x) {
    x ^= x >> 31;
    x *= 0x7fb5d329728ea185u;
    x ^= x >> 27;
    x *= 0x81dadef4bc2dd44du;
    return x ^ x >> 33;
}

bool is_nan(DType type, const std::byte* at) {
    const auto as = [&](auto value) {
        std::memcpy(&value, at, sizeof(value));
        return value;
    };
    switch (type) {
        case DType::float16:
            return (as(std::uint16_t{}) & 0x7fffu) > 0x7c00u;
        case DType::bfloat16:
            return (as(std::uint16_t{}) & 0x7fffu) > 0x7f80u;
        case DType::float32:
            return std::isnan(as(float{}));
        case DType::float64:
            return std::isnan(as(double{}));
        default:
            return false;
    }
}

}  // namespace

std::vector<std::byte> spread(DType type, std::int64_t n, std::uint64_t which) {
    const std::size_t size = size_of(type);
    std::vector<std::byte> bytes(static_cast<std::size_t>(n) * size);
    for (std::int64_t i = 0; i < n; ++i) {
        std::uint64_t bits = mix(static_cast<std::uint64_t>(i) + (which << 40));
        if (type == DType::boolean) bits &= 1;
        // Every other element is near 1, where functions have most to say.
        if (i % 2 == 0 && type == DType::float32)
            bits = (bits & 0x807fffffu) | (0x3c000000u + (bits >> 40 & 7) * 0x800000u * 3 / 2);
        if (i % 2 == 0 && type == DType::float64)
            bits = (bits & 0x800fffffffffffffu) | (0x3f80000000000000u + (bits >> 7 & 15) * 0x0010000000000000u);
        std::memcpy(bytes.data() + static_cast<std::size_t>(i) * size, &bits, size);
    }
    return bytes;
}

std::vector<std::byte> elements(product::testing::Array& x, DType type) {
    std::vector<std::byte> all(static_cast<std::size_t>(x.count()) * size_of(type));
    for (std::int64_t i = 0; i < x.count(); ++i)
        std::memcpy(all.data() + static_cast<std::size_t>(i) * size_of(type), x.at(i), size_of(type));
    return all;
}

void report(const std::string& name, DType type, std::vector<std::byte> elements) {
    const std::size_t size = size_of(type);
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < elements.size(); i += size) {
        std::uint64_t bits = 0x7e57;
        if (!is_nan(type, elements.data() + i)) {
            bits = 0;
            std::memcpy(&bits, elements.data() + i, size);
        }
        hash = mix(hash ^ mix(bits + 1));
    }
    std::printf("%s %016llx\n", name.c_str(), static_cast<unsigned long long>(hash));
}

}  // namespace tenon::hashes

/// Prints every hash, computed with the instruction set in force (TENON_ISA). With --sets, the sets this CPU supports.
int main(int argc, char** argv) {
    using tenon::Isa;
    if (argc > 1 && std::strcmp(argv[1], "--sets") == 0) {
        for (const Isa set : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
            if (tenon::supported(set)) std::puts(std::string(tenon::name(set)).c_str());
        return 0;
    }
    tenon::hashes::tape_hashes();
    tenon::hashes::product_hashes();
    tenon::hashes::chain_hashes();
    tenon::hashes::attention_hashes();
    return 0;
}
