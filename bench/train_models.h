// The networks of the suite `train`.
#pragma once

#include "bench/train.h"
#include "tenon/tree.h"

namespace bench {

struct TrainModel {
    tenon::Tree params;
    tenon::Tensor x, y;  // the batch
    std::function<tenon::Tensor(const tenon::Tree&, const tenon::Tensor&, const tenon::Tensor&)> loss;
    double flops = 0;  // of a step's products, forward and backward
    std::string spec;  // for the other libraries: all but the weights' names and shapes, as JSON
};

/// Random weights and a random batch.
TrainModel train_model(const TrainProblem& problem);

}  // namespace bench
