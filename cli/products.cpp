#include "products.h"

#include <CLI/CLI.hpp>

#include "bench/operands.h"
#include "shapes.h"
#include "tenon/error.h"
#include "tenon/threads.h"
#include "text.h"

namespace cli {

namespace product = tenon::product;

void declare(CLI::App& app, ProductArguments& arguments) {
    app.add_option("--shapes", arguments.shapes,
                   "m x n x k as in 512x768x3072, batches as in 64@32x32x32, with commas between; or a file (FILE or "
                   "@FILE), with one a line")
        ->required();
    app.add_option("--dtype", arguments.types, "Of f32, bf16, u8s8, f64, with commas between")->capture_default_str();
    app.add_option("--threads", arguments.threads, "As many as the process may use, if not given");
    app.add_flag("--wt", arguments.transposed, "The right operand is stored as (n, k), as a layer keeps it");
    app.add_flag("--json", arguments.json, "A list of JSON objects");
}

void for_each_product(const ProductArguments& arguments, const std::function<void(const Product&)>& f) {
    if (arguments.threads && (*arguments.threads < 1 || *arguments.threads > tenon::kMaxThreads))
        throw tenon::ValueError("--threads " + std::to_string(*arguments.threads) + ": not from 1 to " +
                                std::to_string(tenon::kMaxThreads));
    std::vector<bench::Problem> problems;
    if (arguments.shapes.empty()) throw tenon::ValueError("--shapes: empty; at least one is needed");
    for (const bench::Shape& shape : shapes_of(arguments.shapes))
        for (const std::string& type : split(arguments.types, ',')) {
            bench::Problem problem;
            problem.type = bench::type_named(type);
            problem.shape = shape;
            problem.weights.transposed = arguments.transposed;
            problems.push_back(problem);
        }
    if (arguments.threads) tenon::set_num_threads(*arguments.threads);
    for (const bench::Problem& p : problems) {
        const bench::Operands operands = bench::make_operands(p);
        const auto& [m, n, k, batch] = p.shape;
        const bench::TypeTraits& types = bench::traits(p.type);
        Product each{p, product::row_major(operands.a.data(), types.a, m, k),
                     p.weights.transposed ? product::row_major(operands.b.data(), types.b, n, k).transpose()
                                          : product::row_major(operands.b.data(), types.b, k, n),
                     product::row_major(operands.c.data(), types.c, m, n), product::GemmOptions()};
        each.options.batch = batch;
        f(each);
    }
}

}  // namespace cli
