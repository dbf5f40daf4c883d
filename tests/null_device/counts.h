// What the null driver has been asked for, exported as `tenon_null_counts`. Beside it, `tenon_null_ended` makes the
// driver answer as it does once the program is ending.
#pragma once

struct NullCounts {
    long allocations, frees, launches, graphs, products, copies;  // on the device
    long misaligned;  // addresses of tensor maps that are no multiples of 16, which a driver refuses
};
