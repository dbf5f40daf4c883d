// How much memory training needs, checked before any is allocated.
#pragma once

#include <tenon/device.h>
#include <tenon/nn.h>

#include <cstdint>

namespace cli {

/// Throws tenon::MemoryError naming the options where a network of these options, trained by AdamW in batches of
/// `batch` images, needs more memory than there is (of a GPU: than it has in all); tenon::Error where they make no
/// network. Takes no time and no memory, however large the network.
void check_memory(const tenon::nn::MlpOptions& options, std::int64_t batch, tenon::Device device);

}  // namespace cli
