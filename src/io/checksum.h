// XXH3, 128 bits (xxHash 0.8): finds damage, not forgery.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace tenon {

/// The hash of everything given to `update`, in order.
class Checksum {
  public:
    Checksum();
    void update(std::span<const std::byte> bytes);
    /// 32 hexadecimal digits, the canonical (big-endian) form that `xxhsum -H2` prints.
    std::string hex() const;

  private:
    alignas(64) std::byte state_[576];
};

}  // namespace tenon
