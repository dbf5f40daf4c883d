// The strip form on the ways that products have (dense/rows.h): for a block of rows the first product is contracted
// into a buffer that stays in L2, the tape runs over it there, and the second product is contracted out of it. For
// chains whose weights are small beside a block, such as Kronecker products.
#pragma once

#include "product/chain/middle.h"

namespace tenon::product::chain {

struct BlocksForm : Verdict {
    const Middle* middle = nullptr;
    int cut = -1;  // the axis of the middle that is cut
    std::int64_t block = 0, blocks = 0;  // indices of it in a block
};

BlocksForm blocks_form(const Chain& chain, const Middle& middle, int threads);
void run_blocks(const Chain& chain, const BlocksForm& form);

}  // namespace tenon::product::chain
