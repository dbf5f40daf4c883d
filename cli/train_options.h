// The options of `tenon train`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cli {

/// The options that determine one run: equal options and equal data give equal bytes.
struct RunOptions {
    std::string model = "mlp", structure = "dense";
    std::int64_t width = 256, depth = 3;
    /// Set only if the structure has one.
    std::optional<std::int64_t> rank, blocks;
    std::int64_t epochs = 10, batch = 128;
    double lr = 3e-3, weight_decay = 0.01, warmup = 0.05, clip = 1, dropout = 0;
    std::int64_t seed = 1;
    /// The network's device. The bits of results are those of one kind of device.
    std::string device = "cpu";
    /// The dtype of weights and activations in the network, f32 or bf16. Parameters, moments and loss are float32.
    std::string precision = "f32";

    /// Option names without "--" and their values, as a checkpoint keeps them.
    std::map<std::string, std::string> as_text() const;
    /// Names the run among others: "btt-512", "btt-512-r2".
    std::string label() const;
};

struct TrainOptions {
    std::string data = "fashion-mnist";
    /// One or more runs, trained one after the other.
    std::vector<RunOptions> runs;
    /// By default as many as the process may use.
    std::optional<int> threads;
    /// Empty: no file.
    std::string checkpoint, report;
    /// The number of steps between checkpoints.
    std::int64_t checkpoint_every = 200;
    bool resume = false, json = false;
    /// The command line, which the report shows.
    std::string command;
};

/// The arguments as given, unchecked.
struct TrainArguments {
    TrainOptions options;
    RunOptions run;
    std::string structures = "dense", widths = "256", seed = "1";
};

/// Declares the options of `tenon train`.
void declare(CLI::App& command, TrainArguments& arguments);

/// Checks what can be checked without the data. Throws tenon::ValueError naming the option.
TrainOptions checked(const TrainArguments& arguments);

}  // namespace cli
