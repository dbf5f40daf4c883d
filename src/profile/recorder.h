// The recorder to which the evaluator reports.
#pragma once

#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace tenon {

struct Node;
struct Cost;

namespace profile {

extern std::atomic<bool> active;
void add(const Node& node, std::chrono::steady_clock::duration time);
/// What nodes that run together count as, in one call: the names of their primitives in order, each once, as many as a
/// line holds.
std::string name_of(std::span<const Node* const> nodes);
void add(std::string_view name, const Cost& cost, std::chrono::steady_clock::duration time);

}  // namespace profile
}  // namespace tenon
