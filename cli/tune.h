// `tenon tune`: the ways to compute products, timed, and the best kept.
#pragma once

#include "products.h"

namespace cli {

struct TuneArguments {
    ProductArguments products;
    bool keep = true;
};

void declare(CLI::App& app, TuneArguments& arguments);
void tune(const TuneArguments& arguments);

}  // namespace cli
