// How much memory training needs, checked before any is allocated.
#pragma once

#include <tenon/device.h>
#include <tenon/nn.h>

#include <cstdint>

namespace cli {

/// Throws tenon::MemoryError, which names the options, if the network that they describe needs more memory than is
/// available (on a GPU, than it has in all) when it is trained by AdamW in batches of `batch` images; tenon::Error if
/// they describe no network. Takes little time and memory, however large the network.
void check_memory(const tenon::nn::MlpOptions& options, std::int64_t batch, tenon::Device device);

}  // namespace cli
