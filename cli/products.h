// Products as the options of `tenon tune` and `tenon explain` give them, on operands of their own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "bench/problem.h"
#include "tenon/product.h"

namespace CLI {
class App;
}

namespace cli {

struct ProductArguments {
    std::string shapes, types = "f32";
    std::optional<int> threads;
    bool transposed = false, json = false;
};

void declare(CLI::App& app, ProductArguments& arguments);

struct Product {
    bench::Problem problem;
    tenon::product::Matrix a, b, c;
    tenon::product::GemmOptions options;
};

/// Sets the number of threads and calls f for each product in turn. Throws tenon::Error for bad arguments, before the
/// first call.
void for_each_product(const ProductArguments& arguments, const std::function<void(const Product&)>& f);

}  // namespace cli
