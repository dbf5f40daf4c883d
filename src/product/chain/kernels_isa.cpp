// The kernels of chains of an instruction set.
#include "product/chain/micro.h"

namespace tenon::product::chain::TENON_ISA {

extern const IsaCrossKernels kKernels;
constexpr IsaCrossKernels kKernels = {cross_kernels<dense::Vector<float>>(), cross_kernels<dense::Vector<double>>(),
                                      widened_kernels()};

}  // namespace tenon::product::chain::TENON_ISA
