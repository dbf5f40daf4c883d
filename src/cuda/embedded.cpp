#include "cuda/embedded.h"

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::cuda {

std::string_view source(std::string_view name) {
    for (const Source& s : sources())
        if (s.name == name) return s.text;
    throw ValueError(text("cuda: no source named ", name));
}

}  // namespace tenon::cuda
