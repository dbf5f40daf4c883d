// What the evaluator reports to.
#pragma once

#include <atomic>
#include <chrono>

namespace tenon {

struct Node;

namespace profile {

extern std::atomic<bool> active;
void add(const Node& node, std::chrono::steady_clock::duration time);

}  // namespace profile
}  // namespace tenon
