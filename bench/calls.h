// Several calls of a product, one after the other.
#pragma once

#include "bench/peer.h"
#include "bench/team.h"

namespace bench {

/// For a library whose call is one product: one(i) computes the product i of the batch. A batch is shared out among the
/// row's threads, so one(i) must then use one alone.
template <class One>
Prepared call_each(const Problem& problem, One one) {
    const std::int64_t batch = problem.shape.batch;
    if (batch == 1)
        // Each call's arguments are in registers, as in a loop over products. Read again from memory, they were at
        // times taken for elements of C, which the call before had written: 6^3 then took 1.2 times as long.
        return {[one](std::int64_t calls) {
                    const One here = one;
                    for (std::int64_t i = 0; i < calls; ++i) here(0);
                },
                {}};
    return {[one, batch](std::int64_t calls) {
                const std::function<void(std::int64_t, std::int64_t)> part = [&](std::int64_t from, std::int64_t to) {
                    for (std::int64_t i = from; i < to; ++i) one(i);
                };
                for (std::int64_t i = 0; i < calls; ++i) share(batch, part);
            },
            {}};
}

/// For a library that takes batches itself.
template <class All>
Prepared call_all(All all) {
    return {[all](std::int64_t calls) {
                for (std::int64_t i = 0; i < calls; ++i) all();
            },
            {}};
}

}  // namespace bench
