// Copies the intermediate that a pass of ring.cuh kept into a tensor of any strides, for readers other than the cores'
// gradients. A block copies one group of a tile of rows.
//
// Macros: RANK.
#include "cuda/chain/core.cuh"

constexpr int kBlock = 128, kRows = 64;

extern "C" __global__ void unpack(const std::uint16_t* kept, std::uint16_t* to, long long rows, long long row_stride,
                                  CoreStrides z) {
    const int group = blockIdx.y;
    const long long tile = blockIdx.x;
    const std::uint16_t* from = kept + (tile * kBlock + group) * (kBlock * RANK * kRows);
    // Neighbouring threads copy neighbouring groups of the first product, which are adjacent in a row-major z.
    for (int i = threadIdx.x; i < kBlock * RANK * kRows; i += blockDim.x) {
        const int line = i % (kBlock * RANK), row = i / (kBlock * RANK);
        const long long at = tile * kRows + row;
        if (at >= rows) return;
        to[at * row_stride + group * z.group + line % kBlock * z.other + line / kBlock * z.rank] =
            from[line * kRows + row];
    }
}
