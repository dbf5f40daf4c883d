#include "product/contract.h"

#include "product/dense/blocked.h"

namespace tenon::product {

void contract(const View& a, const View& b, const View& out, const Labels& labels) {
    dense::contract_blocked(assign_roles(a, b, out, labels), a, b, out);
}

}  // namespace tenon::product
