// The suites `loop`, `batched`, `product` and `attention` on a GPU: Tenon's compiled functions beside PyTorch's.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/run.h"
#include "tenon/tensor.h"

namespace bench {

/// One problem; inputs are normal numbers of the dtype, on the device.
struct DeviceProblem {
    std::string suite, name, dtype;
    double operations = 0;  // of products; a multiply-add counts as two
    double bytes = 0;  // operands read and results written once
    std::vector<tenon::Shape> inputs;
    std::function<std::vector<tenon::Tensor>(const std::vector<tenon::Tensor>&)> run;
    std::string python;  // the problem as a Python expression of x (a list of tensors), way, torch and F
    std::int64_t classes = 0;  // if not 0, the last input holds integers below it
};

struct DeviceRow {
    DeviceProblem problem;
    std::string library, version, error;  // error: why there is no time
    double bandwidth = 0, peak = 0;  // of the device, measured: bytes of a copy and operations a second
    int samples = 0;
    std::int64_t calls = 0;  // in a sample
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;

    /// The least time that is possible: the bytes at the measured bandwidth, or the operations at the measured peak.
    double floor() const;
    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

bool has_device_suite(const std::string& suite);
/// The problems of a suite. `shapes`: products (m x n x k, batches) in place of the suite's own; `types`: such as
/// "f32,bf16"; both may be empty. Throws ValueError.
std::vector<DeviceProblem> device_problems(const std::string& suite, const std::string& shapes,
                                           const std::string& types);

/// The rows of one problem, Tenon's first.
using DeviceSink = std::function<void(const std::vector<DeviceRow>&)>;

/// `peers`: all, none, or some of eager, called and compiled: PyTorch's operations one by one, also without a CUDA
/// graph, and under torch.compile; for attention some of cudnn and flash, its back ends, and both with -deterministic
/// (the same bits each time). The problems are of one suite. Throws ValueError with the reason if there is no GPU.
void run_device_problems(const std::vector<DeviceProblem>& problems, const std::string& peers, const Settings& settings,
                         const DeviceSink& sink);

std::string device_header();
std::string device_lines(const std::vector<DeviceRow>& rows);
std::string json_object(const DeviceRow& row);

/// The script that PyTorch's interpreter runs.
extern const char* const kDeviceSuitesScript;

}  // namespace bench
