#include <cmath>
#include <numbers>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"
#include "tenon/optim.h"

namespace tenon::optim {
namespace {

double checked(double rate) {
    if (!(rate >= 0) || !std::isfinite(rate))
        throw ValueError(text("learning rate ", rate, " is negative or not finite"));
    return rate;
}

}  // namespace

Schedule::Schedule(double constant) : rate_([rate = checked(constant)](std::int64_t) { return rate; }) {}

Schedule::Schedule(std::function<double(std::int64_t)> rate) : rate_(std::move(rate)) {
    if (!rate_) throw ValueError("schedule: the function of the step is empty");
}

double Schedule::operator()(std::int64_t step) const { return checked(rate_(step)); }

Schedule constant(double rate) { return rate; }

Schedule cosine(double peak, std::int64_t steps, double floor) { return warmup_cosine(peak, 0, steps, floor); }

Schedule warmup_cosine(double peak, std::int64_t warmup, std::int64_t steps, double floor) {
    checked(peak), checked(floor);
    if (warmup < 0 || steps <= warmup)
        throw ValueError(text("schedule: ", steps, " steps with ", warmup, " of warm-up"));
    return Schedule([=](std::int64_t step) {
        if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
        if (step >= steps) return floor;
        const double part = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
        return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    });
}

}  // namespace tenon::optim
