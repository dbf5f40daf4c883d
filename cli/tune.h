// `tenon tune`: times the ways to compute products, and keeps the best.
#pragma once

#include "products.h"

namespace cli {

struct TuneArguments {
    ProductArguments products;
    bool dry = false;
};

void declare(CLI::App& app, TuneArguments& arguments);
void tune(const TuneArguments& arguments);

}  // namespace cli
