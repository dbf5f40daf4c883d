// Uses the installed library: multiplies two small matrices, and fails where the product is wrong.
#include <tenon/tenon.h>

#include <iostream>
#include <vector>

int main() {
    using tenon::Tensor;
    const Tensor a = Tensor::from({1.0F, 2.0F, 3.0F, 4.0F}, {2, 2}), b = Tensor::from({5.0F, 6.0F, 7.0F, 8.0F}, {2, 2});
    const Tensor product = tenon::matmul(a, b);
    std::cout << product << "\n";
    return product.to<float>() == std::vector<float>{19, 22, 43, 50} ? 0 : 1;
}
