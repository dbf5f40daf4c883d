// The sources that the run-time compiler reads, embedded in the library as text: every .cu and .cuh file below src, and
// the headers of the tape's scalar arithmetic, which host and device share.
#pragma once

#include <span>
#include <string_view>

namespace tenon::cuda {

/// `name` is the path below src or include ("cuda/chain/forward.cu", "tape/math.h"), by which sources include each
/// other.
struct Source {
    std::string_view name, text;
};
std::span<const Source> sources();

/// The text of a source. Throws ValueError if there is none of that name.
std::string_view source(std::string_view name);

}  // namespace tenon::cuda
