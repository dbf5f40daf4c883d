// The recorder to which the evaluator reports.
#pragma once

#include <atomic>
#include <chrono>
#include <span>

namespace tenon {

struct Node;
struct Cost;

namespace profile {

extern std::atomic<bool> active;
void add(const Node& node, std::chrono::steady_clock::duration time);
/// Nodes that ran together count as one call, under the names of their primitives.
void add(std::span<const Node* const> nodes, const Cost& cost, std::chrono::steady_clock::duration time);

}  // namespace profile
}  // namespace tenon
