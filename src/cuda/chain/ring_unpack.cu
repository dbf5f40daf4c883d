// What a pass of ring.cuh kept as a tensor of any strides, for readers that are no gradient of a core. One block a tile
// of rows and a group.
//
// Macros: RANK.
#include "cuda/chain/core.cuh"

constexpr int kBlock = 128, kRows = 64;

extern "C" __global__ void unpack(const std::uint16_t* kept, std::uint16_t* to, long long rows, long long row_stride,
                                  CoreStrides z) {
    const int group = blockIdx.y;
    const long long tile = blockIdx.x;
    const std::uint16_t* from = kept + (tile * kBlock + group) * (kBlock * RANK * kRows);
    // A thread's neighbours take neighbouring groups of the first product, which lie side by side in a row-major z.
    for (int i = threadIdx.x; i < kBlock * RANK * kRows; i += blockDim.x) {
        const int line = i % (kBlock * RANK), row = i / (kBlock * RANK);
        const long long at = tile * kRows + row;
        if (at >= rows) return;
        to[at * row_stride + group * z.group + line % kBlock * z.other + line / kBlock * z.rank] =
            from[line * kRows + row];
    }
}
