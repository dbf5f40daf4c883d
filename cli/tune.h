// `tenon tune` and `tenon explain`: the ways to compute products, timed or told.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace cli {

struct ProductArguments {
    std::string shapes, types = "f32";
    int threads = 0;
    bool transposed = false, json = false, keep = true;
};

void declare_tune(CLI::App& app, ProductArguments& arguments);
void declare_explain(CLI::App& app, ProductArguments& arguments);
int tune(const ProductArguments& arguments);
int explain(const ProductArguments& arguments);

}  // namespace cli
