// The suite `train`: whole training steps, by Tenon, PyTorch and JAX, or on a GPU by Tenon and PyTorch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

inline constexpr const char* kTrainSuite = "train";

/// A network, its sizes and the batch.
struct TrainProblem {
    std::string name;  // residual-mlp, residual-mlp-btt, residual-mlp-btt-r1, transformer
    std::int64_t width = 0, batch = 0;
    std::int64_t depth = 3;
    std::int64_t length = 0;  // tokens in a transformer's sequences
    bool on_gpu = false;  // weights and activations are then bfloat16, the parameters float32

    bool is_btt() const { return name.starts_with("residual-mlp-btt"); }
};

/// What was measured of one library's step.
struct TrainRow {
    std::string problem, library, version, error;  // error: why there is no time
    int threads = 1;
    double flops = 0;  // of a step's products, forward and backward
    double peak = 0;  // operations a second
    int samples = 0;
    std::int64_t steps = 0;  // in a sample
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;  // of a step
    bool on_gpu = false;
    double bytes = 0;  // peak of the resident set (or GPU memory), less what it was before the weights
    /// For Tenon, the part of a step outside kernels: recording, derivatives, look-up, memory. On a GPU the part in
    /// which the host, which runs ahead of the device, is busy.
    double outside = 0;

    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// NAME:WIDTHxBATCH, transformer:DEPTHxWIDTHxLENGTHxBATCH, with commas between; empty: the suite's. Throws ValueError.
std::vector<TrainProblem> train_problems(const std::string& shapes, bool on_gpu = false);

/// The rows of one problem, Tenon's first.
using TrainSink = std::function<void(const std::vector<TrainRow>&)>;

/// `peers`: all or none; on a GPU, where PyTorch's step is compiled and runs as one CUDA graph, also some of dense,
/// einsum, natural and strided, the ways to write the layers. The libraries' losses after some steps are compared
/// before anything is timed.
void run_train(const std::vector<TrainProblem>& problems, const std::string& peers, int threads,
               const Settings& settings, const TrainSink& sink);

std::string train_header(bool on_gpu = false);
std::string train_lines(const std::vector<TrainRow>& rows);
std::string json_object(const TrainRow& row);

/// The script that the other libraries' interpreter runs.
extern const char* const kTrainScript;

}  // namespace bench
