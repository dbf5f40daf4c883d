#include <cmath>
#include <numbers>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"
#include "tenon/optim.h"

namespace tenon::optim {
namespace {

double checked(double rate, const char* op = "Schedule") {
    if (!(rate >= 0) || !std::isfinite(rate))
        throw ValueError(text(op, ": a learning rate of ", rate, " is negative or not finite"));
    return rate;
}

Schedule warmup_cosine_of(const char* op, double peak, std::int64_t warmup, std::int64_t steps, double floor) {
    checked(peak, op), checked(floor, op);
    if (warmup < 0) throw ValueError(text(op, ": warmup = ", warmup, " is negative"));
    if (steps <= warmup)
        throw ValueError(text(op, ": steps = ", steps, " is not above ", warmup == 0 ? "" : "warmup = ", warmup));
    return Schedule([=](std::int64_t step) {
        if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
        if (step >= steps) return floor;
        const double part = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
        return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    });
}

}  // namespace

Schedule::Schedule(double constant) : rate_([rate = checked(constant)](std::int64_t) { return rate; }) {}

Schedule::Schedule(std::function<double(std::int64_t)> rate) : rate_(std::move(rate)) {
    if (!rate_) throw ValueError("Schedule: the function of the step is empty");
}

double Schedule::operator()(std::int64_t step) const { return checked(rate_(step)); }

Schedule constant(double rate) { return rate; }

Schedule cosine(double peak, std::int64_t steps, double floor) {
    return warmup_cosine_of("cosine", peak, 0, steps, floor);
}

Schedule warmup_cosine(double peak, std::int64_t warmup, std::int64_t steps, double floor) {
    return warmup_cosine_of("warmup_cosine", peak, warmup, steps, floor);
}

}  // namespace tenon::optim
