// Environment variables that set something.
#pragma once

#include <cstdlib>

namespace tenon {

/// Null where the variable is not set, or empty.
inline const char* environment(const char* name) {
    const char* value = std::getenv(name);
    return value && *value ? value : nullptr;
}

}  // namespace tenon
