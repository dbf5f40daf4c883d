// The form that uses the ways of products (dense/ways.h): for a block of rows, the first product is contracted into a
// buffer that stays in L2, the tape runs over it there, and the second product is contracted out of it. For chains with
// weights that are small beside a block, such as Kronecker products.
#pragma once

#include "product/chain/intermediate.h"

namespace tenon::product::chain {

struct BlocksForm : Applicability {
    const Intermediate* intermediate = nullptr;
    int cut = -1;  // the axis of the intermediate that is cut
    std::int64_t block = 0, blocks = 0;  // indices of that axis in a block; number of blocks
};

BlocksForm blocks_form(const Chain& chain, const Intermediate& intermediate, int threads);
void run_blocks(const Chain& chain, const BlocksForm& form);

}  // namespace tenon::product::chain
