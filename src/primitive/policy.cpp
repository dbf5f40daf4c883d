#include "tenon/policy.h"

namespace tenon {
namespace {

thread_local Policy current;

}  // namespace

const Policy& policy() { return current; }

WithPolicy::WithPolicy(const Policy& p) : before_(current) { current = p; }
WithPolicy::~WithPolicy() { current = before_; }

}  // namespace tenon
