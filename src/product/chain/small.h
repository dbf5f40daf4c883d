// The strip form of small factors: all operands near, no sum or row of weights longer than a few vectors. There what
// surrounds the arithmetic is most of the time, so a strip of rows ("tokens") is one call of a kernel written at run
// time (dense/generated.h) for each slice of x, and one for each batch of the second product.
//
// z of a strip is [token][k2][f], in the nearest cache. A kernel broadcasts elements of A, so that A may lie any way: x
// and z are read where they are, whatever transpose stands between the factors.
#pragma once

#include <memory>

#include "product/chain/lanes.h"

namespace tenon::product::chain {

struct SmallForm : Applicability {
    LanesForm lanes;
    std::shared_ptr<void> plan;  // of the first run, for the next ones
};

SmallForm small_form(const Chain& chain, const LanesForm& lanes);
/// Not for two threads and one form at once.
void run_small(const Chain& chain, SmallForm& form);

}  // namespace tenon::product::chain
