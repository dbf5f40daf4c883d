// Newton's method on the Rosenbrock function of 100 variables. The Hessian is never formed: conjugate gradients ask for
// its products with vectors, and each is the tangent of the gradient.
#include <tenon/tenon.h>

#include <cstdio>

using namespace tenon;

namespace {

// sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2; its minimum is 0, where every x is 1.
Tensor rosenbrock(const Tensor& x) {
    const Tensor low = x.at({Slice{{}, -1}}), high = x.at({Slice{1, {}}});
    return sum(100 * square(high - square(low)) + square(1 - low));
}

Tensor of_tree(const Tree& x) { return rosenbrock(x.tensor()); }

double dot(const Tensor& a, const Tensor& b) { return sum(a * b).item<double>(); }

// The step p with H p = -g, or the last iterate before negative curvature.
Tensor newton_step(const Tensor& x, const Tensor& g) {
    Tensor p = zeros_like(g), r = -g, d = r;
    double rr = dot(r, r);
    const double enough = 1e-16 * rr;
    for (std::int64_t i = 0; i < x.size() && rr > enough; ++i) {
        const Tensor hd = hessian_vector_product(of_tree, x, d).tensor();
        const double curvature = dot(d, hd);
        if (curvature <= 0) return i == 0 ? d : p;
        const double a = rr / curvature;
        p = p + a * d;
        r = r - a * hd;
        const double next = dot(r, r);
        d = r + next / rr * d;
        rr = next;
    }
    return p;
}

}  // namespace

int main() {
    Tensor x = zeros({100}, DType::float64);
    double value = rosenbrock(x).item<double>();
    for (int step = 1; step <= 300 && value > 1e-20; ++step) {
        const Tensor g = grad(rosenbrock)(x), p = newton_step(x, g);
        const double slope = dot(g, p);
        // Halve the step until it pays (Armijo's rule).
        for (double length = 1; length > 1e-12; length /= 2) {
            const Tensor there = x + length * p;
            const double v = rosenbrock(there).item<double>();
            if (v <= value + 1e-4 * length * slope) {
                x = there;
                value = v;
                break;
            }
        }
        if (step % 10 == 0) std::printf("step %3d: f = %.3e\n", step, value);
    }
    std::printf("f = %.3e, max |x - 1| = %.1e\n", value, max(abs(x - 1)).item<double>());
    return value < 1e-16 ? 0 : 1;
}
