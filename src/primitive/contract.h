// What the scheduler needs to know of a contraction: which labels its operands' axes have.
#pragma once

#include <algorithm>
#include <span>

#include "tensor/node.h"

namespace tenon {

struct AxisLabels {
    std::uint8_t label[kMaxRank];
    std::size_t rank;

    operator std::span<const std::uint8_t>() const { return {label, rank}; }
    int find(std::uint8_t l) const {
        const auto* at = std::find(label, label + rank, l);
        return at == label + rank ? -1 : static_cast<int>(at - label);
    }
};

struct ContractLabels {
    AxisLabels a, b, out;
};

bool is_contract(const Node& n);
/// Of a node for which is_contract holds.
ContractLabels contract_labels(const Node& n);
/// Whether its float32 operands may be read as TF32 (tenon/policy.h). The same.
bool allows_tf32(const Node& n);

}  // namespace tenon
