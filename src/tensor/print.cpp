// Printing as NumPy does: columns aligned, eight significant digits, an ellipsis where a tensor is long.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

#include "base/text.h"
#include "tape/tape.h"
#include "tenon/tensor.h"
#include "tensor/node.h"

namespace tenon {
namespace {

constexpr std::int64_t kThreshold = 1000;  // more elements than this are summarised
constexpr std::int64_t kEdge = 3;  // elements kept at each end of an axis then
constexpr int kDigits = 8;

// Positions of an axis that are printed; -1 stands for the ellipsis.
std::vector<std::int64_t> shown(std::int64_t n, bool summarise) {
    std::vector<std::int64_t> at;
    for (std::int64_t i = 0; i < n; ++i) {
        if (summarise && n > 2 * kEdge && i == kEdge) {
            at.push_back(-1);
            i = n - kEdge;
        }
        at.push_back(i);
    }
    return at;
}

class Printer {
  public:
    explicit Printer(const Tensor& t) : host_(t.host()), summarise_(t.size() > kThreshold) {
        collect(0, 0);
        choose_format();
        for (const std::string& s : words()) width_ = std::max(width_, s.size());
    }

    std::string print() {
        next_ = 0;
        std::string out;
        print_axis(0, 0, out);
        return out;
    }

  private:
    double number(std::int64_t offset) const {
        const View v{const_cast<std::byte*>(static_cast<const std::byte*>(host_.data) +
                                            offset * static_cast<std::int64_t>(size_of(host_.dtype))),
                     host_.dtype,
                     {}};
        double out = 0;
        const View to{&out, DType::float64, {}};
        tape::run(tape::single(tape::Opcode::cast, {&v.dtype, 1}, DType::float64), {&v, 1}, {&to, 1});
        return out;
    }

    // 64-bit integers are not doubles: they print from their own bits.
    std::string integer(std::int64_t offset) const {
        const auto* at =
            static_cast<const std::byte*>(host_.data) + offset * static_cast<std::int64_t>(size_of(host_.dtype));
        if (host_.dtype == DType::int64) return std::to_string(*reinterpret_cast<const std::int64_t*>(at));
        if (host_.dtype == DType::uint64) return std::to_string(*reinterpret_cast<const std::uint64_t*>(at));
        return std::to_string(static_cast<std::int64_t>(number(offset)));
    }

    void collect(int axis, std::int64_t offset) {
        if (axis == host_.shape.rank()) {
            offsets_.push_back(offset);
            return;
        }
        for (std::int64_t i : shown(host_.shape[axis], summarise_))
            if (i >= 0) collect(axis + 1, offset + i * host_.strides[axis]);
    }

    void choose_format() {
        if (!is_floating(host_.dtype)) return;
        double largest = 0, smallest = INFINITY;
        for (std::int64_t o : offsets_) {
            const double a = std::fabs(number(o));
            if (!std::isfinite(a) || a == 0) continue;
            largest = std::max(largest, a);
            smallest = std::min(smallest, a);
        }
        scientific_ = largest >= 1e8 || (largest > 0 && (smallest < 1e-4 || largest / smallest > 1e3 * 1e3));
        // The fewest digits after the point that show every number to its precision.
        for (decimals_ = 0; decimals_ < kDigits; ++decimals_) {
            bool exact = true;
            for (std::int64_t o : offsets_) exact = exact && same_at_precision(number(o));
            if (exact) break;
        }
    }

    std::string formatted(double x, int decimals) const {
        char buffer[64];
        std::snprintf(buffer, sizeof buffer, scientific_ ? "%.*e" : "%.*f", decimals, x);
        return buffer;
    }

    bool same_at_precision(double x) const {
        if (!std::isfinite(x)) return true;
        const double now = std::strtod(formatted(x, decimals_).c_str(), nullptr);
        const double best = std::strtod(formatted(x, kDigits).c_str(), nullptr);
        return now == best;
    }

    std::string word(std::int64_t offset) const {
        if (host_.dtype == DType::boolean) return number(offset) != 0 ? "true" : "false";
        if (!is_floating(host_.dtype)) return integer(offset);
        const double x = number(offset);
        if (std::isnan(x)) return "nan";
        if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
        std::string s = formatted(x, decimals_);
        if (scientific_) return s;
        if (decimals_ == 0) return s + ".";
        // Trailing zeros become blanks, so that the points stay aligned.
        const std::size_t end = s.find_last_not_of('0') + 1;
        return s.replace(end, s.size() - end, host_.shape.rank() == 0 ? "" : std::string(s.size() - end, ' '));
    }

    std::vector<std::string> words() const {
        std::vector<std::string> all;
        for (std::int64_t o : offsets_) all.push_back(word(o));
        return all;
    }

    void print_axis(int axis, std::int64_t offset, std::string& out) {
        const int rank = host_.shape.rank();
        if (axis == rank) {
            const std::string w = word(offsets_[next_++]);
            out += std::string(width_ - w.size(), ' ') + w;
            return;
        }
        out += "[";
        bool first = true;
        for (std::int64_t i : shown(host_.shape[axis], summarise_)) {
            if (!first) {
                out += axis + 1 == rank ? " " : std::string(static_cast<std::size_t>(rank - axis - 1), '\n');
                if (axis + 1 < rank) out += std::string(static_cast<std::size_t>(axis) + 1, ' ');
            }
            first = false;
            if (i < 0)
                out += "...";
            else
                print_axis(axis + 1, offset + i * host_.strides[axis], out);
        }
        out += "]";
    }

    HostView host_;
    bool summarise_;
    bool scientific_ = false;
    int decimals_ = 0;
    std::size_t width_ = 0;
    std::size_t next_ = 0;
    std::vector<std::int64_t> offsets_;
};

}  // namespace

std::string to_string(const Tensor& t) { return Printer(t).print(); }

std::ostream& operator<<(std::ostream& out, const Tensor& t) { return out << to_string(t); }

}  // namespace tenon
