#include "product/attention/attention.h"
namespace tenon::product {
void attention_gradient(const Attention& a, const View& out, const void* kept, const View& ct,
                        const AttentionGradients& gradients) {
    attention_gradient_reference(a, out, kept, ct, gradients);
}
}  // namespace tenon::product
