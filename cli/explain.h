// `tenon explain`: how products would be computed, and why not otherwise.
#pragma once

#include "products.h"

namespace cli {

struct ExplainArguments {
    ProductArguments products;
    std::string roofline;
    /// The command line, which the page shows.
    std::string command;
};

void declare(CLI::App& app, ExplainArguments& arguments);
void explain(const ExplainArguments& arguments);

}  // namespace cli
