#pragma once

#include <cstdint>

namespace tenon::tape {

enum class Reduction : std::uint8_t { sum, prod, max, min };

}  // namespace tenon::tape
