#include "product/contract.h"

namespace tenon::product {

void contract(const View& a, const View& b, const View& out, const Labels& labels) {
    contract_reference(a, b, out, labels);
}

}  // namespace tenon::product
