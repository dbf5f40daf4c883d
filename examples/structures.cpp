// What each structure of a layer costs, and that it is the linear map it says: the product against the dense form, the
// adjoint against the product. Usage: structures [WIDTH]
#include <tenon/tenon.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

using namespace tenon;

namespace {

double dot(const Tensor& a, const Tensor& b) { return sum(a * b).item<double>(); }

// |<W x, y> - <x, W' y>| / (|W x| |y|).
double adjoint_error(const LinearMap& layer, const Tensor& x, const Tensor& y) {
    const Tensor wx = layer(x);
    return std::fabs(dot(wx, y) - dot(x, layer.adjoint()(y))) / std::sqrt(dot(wx, wx) * dot(y, y));
}

}  // namespace

int main(int argc, char** argv) {
    const std::int64_t width = argc > 1 ? std::atoll(argv[1]) : 1024;
    random::Key key(1);
    const Tensor x = random::normal(key.next(), {8, width}, 0, 1, DType::float64);
    const Tensor y = random::normal(key.next(), {8, width}, 0, 1, DType::float64);

    std::printf("%-14s %12s %16s %8s %14s %14s\n", "structure", "parameters", "multiply-adds", "rank", "dense form",
                "adjoint");
    double worst = 0;
    for (const char* structure : {"dense", "low-rank", "kronecker", "tensor-train", "monarch", "btt"}) {
        const LinearMap layer = map::random(structure, key.next(), width, width, {.dtype = DType::float64});
        const map::Cost cost = layer.cost();
        const Tensor product = layer(x), dense = map::Dense::from(layer.to_dense())(x);
        const double difference = max(abs(product - dense)).item<double>(), error = adjoint_error(layer, x, y);
        std::printf("%-14s %12lld %16lld %8lld %14.1e %14.1e\n", structure, static_cast<long long>(cost.parameters),
                    static_cast<long long>(cost.multiply_adds), static_cast<long long>(layer.rank_bound()), difference,
                    error);
        worst = std::fmax(worst, std::fmax(difference, error));
    }
    return worst < 1e-12 ? 0 : 1;
}
