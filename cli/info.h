// `tenon info`.
#pragma once

namespace cli {

/// Measures and prints to stdout, as text or as one JSON object.
void info(bool json);

}  // namespace cli
