// `tenon bench`.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace cli {

/// The arguments as given, unchecked.
struct BenchArguments {
    std::string suite, shapes, types, weights, routines, peers = "all", threads, device = "cpu";
    int samples = 9;
    double seconds = 1;
    bool cold = false, json = false;
    std::string report, roofline;
    /// The command line, which the report shows.
    std::string command;
};

void declare(CLI::App& command, BenchArguments& arguments);

/// Measures and prints. Throws tenon::Error for bad input, before anything is measured.
void bench(const BenchArguments& arguments);

}  // namespace cli
