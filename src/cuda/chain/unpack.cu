// Copies the intermediate that a pass of stationary.cu kept into a tensor of any strides, for readers other than the
// cores' gradients. A block copies one group of a tile of rows.
//
// Macros: BLOCK, RANK.
#include "cuda/chain/stationary.cuh"

extern "C" __global__ void unpack(const char* kept, uint16_t* to, long long rows, long long row_stride, CoreStrides z) {
    const int tile = blockIdx.x, group = blockIdx.y;
    const char* from = kept + (static_cast<long long>(tile) * kWide + group / kCores) * kKept;
    // Neighbouring threads copy neighbouring groups of the first product, which are adjacent in a row-major z.
    for (int i = threadIdx.x; i < BLOCK * RANK * kRows; i += blockDim.x) {
        const int other = i % BLOCK, rank = i / BLOCK % RANK, row = i / (BLOCK * RANK);
        const long long at = static_cast<long long>(tile) * kRows + row;
        if (at >= rows) return;
        const int line = (group % kCores * RANK + rank) * BLOCK + other;
        const int piece = row / 8 ^ (line >> 1 & 3);
        to[at * row_stride + group * z.group + other * z.other + rank * z.rank] =
            *reinterpret_cast<const uint16_t*>(from + line * 64 + piece * 16 + row % 8 * 2);
    }
}
