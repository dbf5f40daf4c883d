// The networks of the suite `train`.
#pragma once

#include "bench/train.h"
#include "tenon/functions.h"
#include "tenon/tree.h"

namespace bench {

struct TrainModel {
    tenon::Tree params;
    tenon::Tensor x, y;  // the batch
    std::function<tenon::Tensor(const tenon::Tree&, const tenon::Tensor&, const tenon::Tensor&)> loss;
    double flops = 0;  // of a step's products, forward and backward
    std::string spec;  // JSON, what the other libraries need to know of it beside the weights' names and shapes
};

/// Random weights and a random batch.
TrainModel train_model(const TrainProblem& problem);

}  // namespace bench
