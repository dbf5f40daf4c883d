// The form without a transpose between the factors: Kronecker products, tensor trains of rank 1, low rank. For a few
// rows ("tokens"), z is [token][other][lane], and only the weights are packed:
//   if the lanes are the weights' columns, x's rows are A, read in place, all tokens at once;
//   if the lanes are x's, the weights are A, and each token's part of x is B, read in place.
// The second product reads z in the same two ways.
#pragma once

#include "product/chain/intermediate.h"

namespace tenon::product::chain {

struct RowsForm : Applicability {
    const Intermediate* intermediate = nullptr;
    IntermediateAxis token, other, lane;  // axes of z; `other` may be missing (extent 1)
    ColumnAxis column;
    bool x_is_a = true;
    bool first_by_token = false;  // the first product's lanes are x's
    bool second_by_token = false;  // the second product's lanes are the output's along `lane`

    std::int64_t x(const IntermediateAxis& axis) const { return x_is_a ? axis.a : axis.b; }
    std::int64_t w(const IntermediateAxis& axis) const { return x_is_a ? axis.b : axis.a; }
};

RowsForm rows_form(const Chain& chain, const Intermediate& intermediate);
void run_rows(const Chain& chain, const RowsForm& form);

}  // namespace tenon::product::chain
