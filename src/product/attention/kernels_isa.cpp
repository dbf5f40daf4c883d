// The passes of attention of an instruction set.
#include "product/attention/passes.h"

namespace tenon::product::attention::TENON_ISA {

extern const IsaPasses kPasses;
constexpr IsaPasses kPasses = {passes<Same<float>>(), passes<Rounded>(), passes<Same<double>>()};

}  // namespace tenon::product::attention::TENON_ISA
