// The form of lanes.h without its transpositions: the lanes of both products are columns of the weights.
//
// The first product reads x in place, some tokens of two slices at a time. The intermediate goes to panels of tokens,
// z[chunk][panel][k2][token][column], where a chunk is kPanelBytes of columns. There the second product reads a column
// of the weights' batch as its A, with tokens kPanelBytes apart, so that the lines of a chunk serve all its columns
// from the nearest cache. In bfloat16, the two slices are a pair of the second product's k: they are rounded and joined
// as they are stored.
#pragma once

#include "product/chain/lanes.h"

namespace tenon::product::chain {

struct PanelsForm : Applicability {
    LanesForm lanes;
};

PanelsForm panels_form(const Chain& chain, const LanesForm& lanes);
void run_panels(const Chain& chain, const PanelsForm& form);

}  // namespace tenon::product::chain
