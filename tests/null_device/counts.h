// What the null driver has been asked for, exported as `tenon_null_counts`. Beside it, `tenon_null_ended` makes the
// driver answer as it does once the program is ending, and `tenon_null_events` is how many more events it creates
// before it has no memory for them; negative for any number.
#pragma once

struct NullCounts {
    long allocations, frees, launches, graphs, products, copies;  // on the device
    long uploads;  // copies from the host
    long pinned;  // allocations of pinned memory on the host
    long misaligned;  // addresses of tensor maps that are no multiples of 16, which a driver refuses
};
