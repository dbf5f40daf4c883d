// Printing as NumPy does: columns aligned, the fewest digits that tell a number from its neighbours in the tensor's own
// dtype but at most eight after the point, an ellipsis where a tensor is long, lines of at most 75 characters.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>

#include "base/text.h"
#include "tape/tape.h"
#include "tenon/tensor.h"
#include "tensor/node.h"

namespace tenon {
namespace {

constexpr std::int64_t kThreshold = 1000;  // tensors of more elements are summarised
constexpr std::int64_t kEdge = 3;  // elements at each end of an axis that a summary shows
constexpr int kDigits = 8;  // after the point, in tensors of one axis and more
constexpr std::size_t kLine = 75;

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

template <class T>
std::string shortest_of(T x, std::chars_format format) {
    char buffer[512];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, x, format).ptr};
}

// What printf writes for "%.*f" or "%.*e" in the C locale, in any locale.
std::string with_decimals(double x, int decimals, bool scientific) {
    char buffer[512];
    const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, x, format, decimals).ptr};
}

// There is no to_chars for the narrow formats: finds the fewest significant digits that read back as the same number.
template <class Narrow>
std::string shortest_narrow(double x, Narrow (*round)(float), std::chars_format format) {
    const Narrow same = round(static_cast<float>(x));
    double rounded = x;
    for (int digits = 0; digits < kDigits; ++digits) {
        const std::string s = with_decimals(x, digits, true);
        std::from_chars(s.data(), s.data() + s.size(), rounded);
        if (round(static_cast<float>(rounded)) == same) break;
    }
    return shortest_of(rounded, format);
}

std::string shortest(double x, DType dtype, std::chars_format format) {
    if (dtype == DType::float32) return shortest_of(static_cast<float>(x), format);
    if (dtype == DType::float16) return shortest_narrow(x, to_float16, format);
    if (dtype == DType::bfloat16) return shortest_narrow(x, to_bfloat16, format);
    return shortest_of(x, format);
}

// The parts of a number: before the point, after it without trailing zeros, and the exponent from "e" on.
struct Parts {
    std::string whole, fraction, exponent;
};

Parts parts_of(const std::string& s) {
    const std::size_t e = std::min(s.find('e'), s.size()), point = std::min(s.find('.'), e);
    Parts p{s.substr(0, point), point < e ? s.substr(point + 1, e - point - 1) : "", s.substr(e)};
    p.fraction.erase(p.fraction.find_last_not_of('0') + 1);
    return p;
}

Parts parts_of(double x, DType dtype, bool scientific) {
    Parts p = parts_of(shortest(x, dtype, scientific ? std::chars_format::scientific : std::chars_format::fixed));
    if (p.fraction.size() <= kDigits) return p;
    return parts_of(with_decimals(x, kDigits, scientific));
}

// A single number is printed with all its digits.
std::string scalar_word(double x, DType dtype) {
    const double a = std::fabs(x);
    const bool scientific = a != 0 && (a < 1e-4 || a >= 1e16);
    const Parts p = parts_of(shortest(x, dtype, scientific ? std::chars_format::scientific : std::chars_format::fixed));
    const std::string fraction = p.fraction.empty() && !scientific ? "0" : p.fraction;
    return text(p.whole, fraction.empty() ? "" : ".", fraction, p.exponent);
}

class Printer {
  public:
    explicit Printer(const Tensor& t)
        : value_(host_value(t, "print")),
          host_{value_.view.data, value_.view.dtype, value_.view.shape(), value_.view.layout.strides},
          summarise_(t.size() > kThreshold) {
        collect(0, 0);
        if (is_floating(host_.dtype)) choose_format();
        for (const std::int64_t o : offsets_) words_.push_back(word(o));
        for (const std::string& s : words_) width_ = std::max(width_, s.size());
    }

    std::string print() {
        if (offsets_.empty()) return "[]";
        if (host_.shape.rank() == 0) return words_[0];
        return axis_text(0, " ", kLine);
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

    // A double does not hold every 64-bit integer, so these are printed from their own bits.
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
        double largest = 0, smallest = INFINITY;
        for (std::int64_t o : offsets_) {
            const double a = std::fabs(number(o));
            if (!std::isfinite(a) || a == 0) continue;
            largest = std::max(largest, a);
            smallest = std::min(smallest, a);
        }
        scientific_ = largest >= 1e8 || (largest > 0 && (smallest < 1e-4 || largest / smallest > 1e3));
        for (std::int64_t o : offsets_)
            if (const double x = number(o); std::isfinite(x))
                decimals_ = std::max(decimals_, parts_of(x, host_.dtype, scientific_).fraction.size());
    }

    // Fractions are padded, so that the points are aligned: with blanks, or with zeros before an exponent.
    std::string floating_word(double x) const {
        if (std::isnan(x)) return "nan";
        if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
        if (host_.shape.rank() == 0) return scalar_word(x, host_.dtype);
        const Parts p = parts_of(x, host_.dtype, scientific_);
        const std::size_t missing = decimals_ - p.fraction.size();
        if (!scientific_) return p.whole + "." + p.fraction + std::string(missing, ' ');
        if (missing && decimals_) return with_decimals(x, static_cast<int>(decimals_), true);
        return p.whole + "." + p.fraction + p.exponent;
    }

    std::string word(std::int64_t offset) const {
        if (host_.dtype == DType::boolean) {
            if (number(offset) == 0) return "False";
            return host_.shape.rank() == 0 ? "True" : " True";
        }
        return is_floating(host_.dtype) ? floating_word(number(offset)) : integer(offset);
    }

    std::string padded(const std::string& w) const { return std::string(width_ - w.size(), ' ') + w; }

    // The last axis, its lines broken where they would be longer than `line` with the brackets that follow.
    std::string row_text(const std::string& indent, std::size_t line) {
        std::string all, now = indent;
        const auto positions = shown(host_.shape[host_.shape.rank() - 1], summarise_);
        for (std::size_t i = 0; i < positions.size(); ++i) {
            const std::string w = positions[i] < 0 ? "..." : padded(words_[next_++]);
            if (now.size() + w.size() > line - 1 && now.size() > indent.size()) {
                all += now.substr(0, now.find_last_not_of(' ') + 1) + "\n";
                now = indent;
            }
            now += w + (i + 1 < positions.size() ? " " : "");
        }
        return all + now;
    }

    std::string axis_text(int axis, const std::string& indent, std::size_t line) {
        const int inner = host_.shape.rank() - axis - 1;
        std::string all;
        if (inner == 0) {
            all = row_text(indent, line);
        } else {
            for (std::int64_t i : shown(host_.shape[axis], summarise_)) {
                if (!all.empty()) all += std::string(static_cast<std::size_t>(inner), '\n');
                all += indent + (i < 0 ? "..." : axis_text(axis + 1, indent + " ", line - 1));
            }
        }
        return text("[", all.substr(indent.size()), "]");
    }

    Array value_;
    HostView host_;
    bool summarise_;
    bool scientific_ = false;
    std::size_t decimals_ = 0;
    std::size_t width_ = 0;
    std::size_t next_ = 0;
    std::vector<std::int64_t> offsets_;
    std::vector<std::string> words_;
};

}  // namespace

std::string to_string(const Tensor& t) { return Printer(t).print(); }

std::ostream& operator<<(std::ostream& out, const Tensor& t) { return out << to_string(t); }

}  // namespace tenon
