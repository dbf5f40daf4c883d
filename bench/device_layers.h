// The suite `chain` on a GPU: structured layers, forward and with their gradients, by Tenon's graphs and by
// PyTorch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/run.h"

namespace bench {

/// A layer of `width` inputs and outputs in bfloat16: a block tensor train ("btt") of some rank with blocks of
/// sqrt(width), a Kronecker product ("kronecker") of two square matrices of that size, or a product of two matrices
/// ("low-rank").
struct DeviceLayer {
    std::string structure;
    std::int64_t rows = 0, width = 0, rank = 1;
    bool backward = false;  // forward, and the gradients of the input and of both cores

    std::string name() const;
    /// Operations of all products; a multiply-add counts as two.
    double operations() const;
    /// Input, output and cores, each once; with gradients also the output's gradient, the input again, and its
    /// gradient.
    double bytes() const;
};

struct DeviceLayerRow {
    DeviceLayer layer;
    std::string library, version, error;  // error: why there is no time
    double bandwidth = 0, peak = 0;  // of the device, measured: bytes and operations a second
    int samples = 0;
    std::int64_t calls = 0;  // in a sample
    double seconds = 0, lower_quartile = 0, upper_quartile = 0;

    /// The least time that is possible: the bytes at the measured bandwidth, or the operations at the measured peak.
    double floor() const;
    double spread() const { return (upper_quartile - lower_quartile) / seconds; }
};

/// The layers of `shapes`, such as "16384x4096x4096" (rows x outputs x inputs, of which the last two are equal); empty:
/// the suite's own. Each shape gives block tensor trains of ranks 1, 2 and 4, and at width 4096 also a Kronecker
/// product and a product of rank 256, each forward and with gradients. `kinds` selects some by name (btt-r2,
/// btt-r4-backward, kronecker); empty: all. Throws ValueError.
std::vector<DeviceLayer> device_layers(const std::string& shapes, const std::string& kinds);

/// The rows of one layer, Tenon's first.
using DeviceLayerSink = std::function<void(const std::vector<DeviceLayerRow>&)>;

/// `peers`: all, none, or of dense, strided (products that write where the next one reads, and gradients by hand), and
/// natural, contiguous, einsum and in-place, the ways to write the layer in PyTorch (device_layers.py), each also with
/// -compiled, under torch.compile. Throws ValueError with the reason if there is no GPU.
void run_device_layers(const std::vector<DeviceLayer>& layers, const std::string& peers, const Settings& settings,
                       const DeviceLayerSink& sink);

std::string device_layer_header();
std::string device_layer_lines(const std::vector<DeviceLayerRow>& rows);
std::string json_object(const DeviceLayerRow& row);

/// The script that PyTorch's interpreter runs.
extern const char* const kDeviceLayersScript;

}  // namespace bench
