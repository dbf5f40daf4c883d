#include "product/dense/generated.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/cpu.h"
#include "base/text.h"
#include "product/dense/units.h"
#include "tenon/error.h"

namespace tenon::product::dense {
namespace {

#if defined(__x86_64__)

/// More instructions than this exceed the cache of decoded instructions: a loop then has this many steps of k.
/// float64 48^3 takes 2,600 unrolled, and 1.06 of the time of a loop (Zen 5).
constexpr std::int64_t kLongest = 2400, kLoopSteps = 8;
constexpr std::int64_t kLine = 64;
constexpr int kRegisters = 32;
/// The most bytes of a row of A that are loaded to be spread.
constexpr std::int64_t kPart = 16;

/// The registers of the arguments, the second to the fourth of the System V calling convention; and others that a
/// callee may use, for what is prefetched of a later product.
enum Base : std::uint8_t { kA = 6, kB = 2, kC = 1, kNextA = 10, kNextB = 7, kNextC = 11 };
/// r8 and r9.
enum Counter : std::uint8_t { kPanels = 0, kSteps = 1 };

struct Address {
    Base base;
    std::int64_t offset;
};

/// The few instructions that a kernel consists of (Intel's manual, volume 2, 2.7: EVEX).
class Assembler {
  public:
    Assembler(bool is_double, Arithmetic arithmetic) : wide_(is_double) {
        if (arithmetic == Arithmetic::bytes) multiply_ = {k66, 0x50};  // vpdpbusd
        if (arithmetic == Arithmetic::brain) multiply_ = {kF3, 0x52};  // vdpbf16ps
    }

    const std::vector<std::uint8_t>& code() const { return code_; }

    void zero(int x) { evex_registers(kMap0F, k66, false, 0xef, x, x, x, 0); }
    void load(int x, Address from, int bits, bool masked) {
        evex_memory(kMap0F, packed_prefix(), wide_, 0x10, x, 0, from, bits, bits / 8, masked, masked, false);
    }
    void store(int x, Address to, int bits, bool masked) {
        evex_memory(kMap0F, packed_prefix(), wide_, 0x11, x, 0, to, bits, bits / 8, masked, false, false);
    }
    /// Broadcasts to a vector of 256 or 512 bits.
    void broadcast(int x, Address from, int bits) {
        evex_memory(kMap0F38, k66, wide_, wide_ ? 0x19 : 0x18, x, 0, from, bits, element(), false, false, false);
    }
    /// Repeats 8, 16 or 32 bytes in the whole vector.
    void broadcast_row(int x, Address from, std::int64_t bytes, int bits) {
        if (8 * bytes == bits) return load(x, from, bits, false);
        const int opcode = bytes == 8 ? 0x59 : bytes == 16 ? 0x1a : 0x1b;  // vpbroadcastq, vbroadcastf32x4, ...f64x4
        evex_memory(kMap0F38, k66, bytes != 16, opcode, x, 0, from, bits, static_cast<int>(bytes), false, false, false);
    }
    /// In each 128 bits (permilps, permilpd) or 256 bits (permpd), the elements that are chosen.
    void permilps(int x, int from, int chosen, int bits) { permute(false, 0x04, x, from, chosen, bits); }
    void permilpd(int x, int from, int chosen, int bits) { permute(true, 0x05, x, from, chosen, bits); }
    void permpd(int x, int from, int chosen, int bits) { permute(true, 0x01, x, from, chosen, bits); }
    /// In each 128 bits, the k-th element everywhere.
    void spread(int x, int from, int k, int bits) {
        if (wide_) return permilpd(x, from, k * 0xff, bits);
        permilps(x, from, k * 0x55, bits);
    }
    /// sum += x * y. Of integers, x is without sign.
    void multiply_add(int sum, int x, int y, int bits) {
        evex_registers(kMap0F38, multiply_.prefix, wide_, multiply_.opcode, sum, x, y, bits);
    }
    /// The second factor is a single element.
    void multiply_add(int sum, int x, Address y, int bits) {
        evex_memory(kMap0F38, multiply_.prefix, wide_, multiply_.opcode, sum, x, y, bits, element(), false, false,
                    true);
    }
    /// Masks all but the first `lanes` lanes.
    void set_mask(std::int64_t lanes) {
        byte(0xb8), word((1u << lanes) - 1);  // mov eax
        for (const int b : {0xc5, 0xf8, 0x92, 0xc8}) byte(b);  // kmovw k1, eax
    }
    void set_counter(Counter counter, std::int64_t n) {
        byte(0x41), byte(0xb8 | counter), word(static_cast<std::uint32_t>(n));
    }
    void move(Base base, std::int64_t step) {
        if (step == 0) return;
        byte(0x48 | base >> 3), byte(0x81), byte(0xc0 | (base & 7)), word(static_cast<std::uint32_t>(step));
    }
    /// to = from + offset.
    void set_base(Base to, Address from) {
        byte(0x48 | to >> 3 << 2 | from.base >> 3), byte(0x8d), byte(0x80 | (to & 7) << 3 | (from.base & 7));
        word(static_cast<std::uint32_t>(from.offset));
    }
    /// Into L2.
    void prefetch(Address at) {
        byte(0x40 | at.base >> 3), byte(0x0f), byte(0x18), byte(0x80 | 2 << 3 | (at.base & 7));
        word(static_cast<std::uint32_t>(at.offset));
    }
    std::size_t here() const { return code_.size(); }
    void count_down(Counter counter, std::size_t start) {
        for (const int b : {0x41, 0xff, 0xc8 | counter, 0x0f, 0x85}) byte(b);  // dec, jnz
        word(static_cast<std::uint32_t>(start - (code_.size() + 4)));
    }
    void end(bool dirty) {
        if (dirty)
            for (const int b : {0xc5, 0xf8, 0x77}) byte(b);  // vzeroupper
        byte(0xc3);
    }

  private:
    enum Map : std::uint8_t { kMap0F = 1, kMap0F38 = 2, kMap0F3A = 3 };
    enum Prefix : std::uint8_t { kNone = 0, k66 = 1, kF3 = 2 };
    struct Instruction {
        Prefix prefix;
        int opcode;
    };

    void permute(bool w, int opcode, int x, int from, int chosen, int bits) {
        evex_registers(kMap0F3A, k66, w, opcode, x, 0, from, bits);
        byte(chosen);
    }
    Prefix packed_prefix() const { return wide_ ? k66 : kNone; }
    int element() const { return wide_ ? 8 : 4; }
    void byte(int b) { code_.push_back(static_cast<std::uint8_t>(b)); }
    void word(std::uint32_t w) {
        for (int i = 0; i < 4; ++i) byte(static_cast<int>(w >> (8 * i) & 0xff));
    }
    /// The register bits of a prefix are stored inverted.
    void prefix(Map map, Prefix pp, bool w, int reg, int second, int third, int bits, bool masked, bool zeroed,
                bool broadcast) {
        byte(0x62);
        byte((reg & 8 ? 0 : 0x80) | (third & 16 ? 0 : 0x40) | (third & 8 ? 0 : 0x20) | (reg & 16 ? 0 : 0x10) | map);
        byte((w ? 0x80 : 0) | (~second & 15) << 3 | 4 | pp);
        const int length = bits == 512 ? 2 : bits == 256 ? 1 : 0;
        byte((zeroed ? 0x80 : 0) | length << 5 | (broadcast ? 0x10 : 0) | (second & 16 ? 0 : 8) | (masked ? 1 : 0));
    }
    void evex_registers(Map map, Prefix pp, bool w, int opcode, int reg, int second, int third, int bits) {
        prefix(map, pp, w, reg, second, third, bits, false, false, false);
        byte(opcode), byte(0xc0 | (reg & 7) << 3 | (third & 7));
    }
    /// An offset in one byte counts units of `unit` bytes.
    void evex_memory(Map map, Prefix pp, bool w, int opcode, int reg, int second, Address at, int bits, int unit,
                     bool masked, bool zeroed, bool broadcast) {
        prefix(map, pp, w, reg, second, at.base, bits, masked, zeroed, broadcast);
        byte(opcode);
        const std::int64_t units = at.offset / unit;
        const bool is_short = at.offset % unit == 0 && units >= -128 && units < 128;
        const int mode = at.offset == 0 ? 0 : is_short ? 0x40 : 0x80;
        byte(mode | (reg & 7) << 3 | at.base);
        if (mode == 0x40) byte(static_cast<int>(units & 0xff));
        if (mode == 0x80) word(static_cast<std::uint32_t>(at.offset));
    }

    bool wide_;
    Instruction multiply_{k66, 0xb8};  // vfmadd231ps, vfmadd231pd
    std::vector<std::uint8_t> code_;
};

std::int64_t rows_of(const Generated& p) { return p.panels * (p.rows - 1) + p.tall; }
/// Bytes of the longest vectors that C consists of.
std::int64_t shared_bytes(const Generated& p) {
    const std::int64_t all = rows_of(p) * p.n * p.element_bytes;
    return std::min<std::int64_t>(64, all & -all);
}

class Generator {
  public:
    explicit Generator(const Generated& product) : p_(product), out_(product.element_bytes == 8, product.arithmetic) {}

    /// Empty if the kernel would be too long.
    std::vector<std::uint8_t> run() {
        if (p_.shared != 0) return shared_rows();
        const std::int64_t tall = p_.tall, less = p_.panels - p_.tall;
        const auto length_of_both = [&] {
            return (tall > 0 ? length(p_.rows) : 0) + (less > 0 ? length(p_.rows - 1) : 0);
        };
        if (p_.loop_steps > 0 && p_.k >= 2 * p_.loop_steps) loop_ = p_.loop_steps;
        if (length_of_both() > kLongest && p_.k >= 2 * kLoopSteps) loop_ = kLoopSteps;
        if (length_of_both() > kLongest) return {};
        if (masked_lanes() > 0) out_.set_mask(masked_lanes());
        if (fetches()) out_.set_base(kNextB, {kB, p_.b_next});
        panels(tall, p_.rows, less == 0);
        panels(less, p_.rows - 1, true);
        out_.end(lowest_ < 16);
        return out_.code();
    }

  private:
    struct Tile {
        std::int64_t column, vectors, lanes, last_lanes;
        bool masked;  // of the last vector
    };

    /// All of B stays in registers.
    std::vector<std::uint8_t> shared_rows() {
        const std::int64_t row = p_.n * p_.element_bytes, all = rows_of(p_) * row, vector = shared_bytes(p_);
        const int b = kRegisters - static_cast<int>(p_.k), sum = b - 1, a = b - 2, element = b - 3,
                  bits = int(8 * vector);
        for (std::int64_t k = 0; k < p_.k; ++k)
            out_.broadcast_row(b + static_cast<int>(k), {kB, k * p_.b_step}, row, bits);
        for (std::int64_t at = 0; at < all; at += vector) {
            out_.zero(sum);
            out_.load(a, {kA, at}, bits, false);
            for (std::int64_t k = 0; k < p_.k; ++k) {
                spread_element(element, a, static_cast<int>(k), bits);
                out_.multiply_add(sum, b + static_cast<int>(k), element, bits);
            }
            out_.store(sum, {kC, at}, bits, false);
        }
        out_.end(false);
        return out_.code();
    }
    /// The k-th element of each row, in all of the row.
    void spread_element(int to, int from, int k, int bits) {
        const bool is_double = p_.element_bytes == 8;
        if (p_.n == 4 && is_double) return out_.permpd(to, from, k * 0x55, bits);
        if (p_.n == 4 || is_double) return out_.spread(to, from, k, bits);
        out_.permilps(to, from, k == 0 ? 0xa0 : 0xf5, bits);
    }

    std::int64_t whole_columns() const { return p_.n / p_.width * p_.width; }
    /// Of the last vector, if there are others beside it: no longer than its columns ask for, so that it crosses fewer
    /// lines of operands in place. 1,000 of 7 x 11 x 13 take 0.96 of the time in float64, of 10^3 0.93 (Zen 5); 17^3 in
    /// bfloat16, whose columns are packed, would take 1.06.
    std::int64_t last_lanes(std::int64_t rest) const {
        const std::int64_t last = rest % p_.rest_lanes;
        std::int64_t lanes = p_.rest_lanes;
        const bool shortens = p_.arithmetic == Arithmetic::real && rest > p_.rest_lanes && last > 0;
        while (shortens && 2 * last <= lanes && lanes * p_.element_bytes > kPart) lanes /= 2;
        return lanes;
    }
    std::int64_t masked_lanes() const {
        const std::int64_t rest = p_.n - whole_columns();
        return rest % last_lanes(rest);
    }
    std::vector<Tile> tiles() const {
        std::vector<Tile> all;
        std::int64_t j = 0;
        for (; j + p_.width <= p_.n; j += p_.width) all.push_back({j, p_.width / p_.lanes, p_.lanes, p_.lanes, false});
        const std::int64_t rest = p_.n - j;
        if (rest > 0)
            all.push_back({j, (rest + p_.rest_lanes - 1) / p_.rest_lanes, p_.rest_lanes, last_lanes(rest),
                           rest % last_lanes(rest) != 0});
        return all;
    }
    std::int64_t length(std::int64_t rows) const {
        std::int64_t n = 0;
        const std::int64_t steps = loop_ > 0 ? loop_ + p_.k % loop_ : p_.k;
        for (const Tile& t : tiles())
            n +=
                steps * (t.vectors + rows * (fuses(t.vectors) ? 1 : t.vectors + 1) + 2 * rows_spread(t.vectors, rows)) +
                (2 + p_.k % 2) * rows * t.vectors;
        return n;
    }
    bool fetches() const { return p_.b_next != 0 && loop_ > 0; }
    std::int64_t rounds() const { return loop_ > 0 ? p_.k / loop_ : 0; }
    /// Lines that each round of a panel's loops prefetches of `bytes` bytes.
    std::int64_t lines(std::int64_t bytes) const {
        const std::int64_t all = (bytes + kLine - 1) / kLine, rounds_of_panel = rounds() * std::int64_t(tiles().size());
        return (all + rounds_of_panel - 1) / rounds_of_panel;
    }
    /// What a panel of rows prefetches: its own rows of the later A and C, and a share of B.
    void begin_fetching(std::int64_t rows) {
        if (!fetches()) return;
        out_.set_base(kNextA, {kA, p_.a_next}), out_.set_base(kNextC, {kC, p_.c_next});
        wanted_ = {{kNextA, lines(rows * p_.a_step)},
                   {kNextB, lines((p_.k * p_.b_step + p_.panels - 1) / p_.panels)},
                   {kNextC, lines(rows * p_.c_step)}};
    }
    void fetch() {
        for (const auto& [base, count] : wanted_) {
            for (std::int64_t i = 0; i < count; ++i) out_.prefetch({base, i * kLine});
            out_.move(base, count * kLine);
        }
    }
    void panels(std::int64_t count, std::int64_t rows, bool last) {
        if (count == 0) return;
        if (count > 1) out_.set_counter(kPanels, count);
        const std::size_t start = out_.here();
        begin_fetching(rows);
        for (const Tile& t : tiles()) tile(t, rows);
        if (count > 1 || !last) {
            out_.move(kA, rows * p_.a_step), out_.move(kC, rows * p_.c_step);
        }
        if (count > 1) out_.count_down(kPanels, start);
    }
    /// Whether elements of A are operands of the instructions that multiply. Integers of A are the first factor, which
    /// comes from a register.
    bool fuses(std::int64_t vectors) const { return vectors == 1 && p_.arithmetic != Arithmetic::bytes; }
    /// Elements of a row of A that are loaded together to be spread; 1: none are.
    std::int64_t part_of_row() const {
        std::int64_t n = kPart / p_.element_bytes;
        while (loop_ % n != 0) n /= 2;
        return n;
    }
    std::int64_t rows_spread(std::int64_t vectors, std::int64_t rows) const {
        return vectors == 1 && part_of_row() > 1 ? std::min(p_.spread, (rows + 1) / 2) : 0;
    }
    /// Registers from the last one down: if only the upper sixteen are used, nothing has to be cleared for the caller.
    void tile(const Tile& t, std::int64_t rows) {
        const auto vectors = static_cast<int>(t.vectors), bits = static_cast<int>(t.lanes * p_.element_bytes * 8);
        const auto sum = [&](std::int64_t i, int j) { return kRegisters - 1 - (static_cast<int>(i) * vectors + j); };
        const int columns = sum(rows, 0), element = columns - vectors;
        const std::int64_t part = part_of_row();
        const auto spread = static_cast<int>(rows_spread(vectors, rows));
        lowest_ = std::min(lowest_, spread > 0 ? element - spread : fuses(vectors) ? columns : element);
        const auto at = [&](int j) { return (t.column + j * t.lanes) * p_.element_bytes; };
        const auto masked = [&](int j) { return t.masked && j == vectors - 1; };
        const auto bits_of = [&](int j) {
            return static_cast<int>((j == vectors - 1 ? t.last_lanes : t.lanes) * p_.element_bytes * 8);
        };
        for (std::int64_t i = 0; i < rows; ++i)
            for (int j = 0; j < vectors; ++j) out_.zero(sum(i, j));
        // One of `steps` steps whose addresses follow each other.
        const auto step = [&](std::int64_t k, std::int64_t steps) {
            if (p_.pairs != 0) k ^= 1;
            for (int j = 0; j < vectors; ++j)
                out_.load(columns - j, {kB, k * p_.b_step + at(j)}, bits_of(j), masked(j));
            for (std::int64_t i = 0; i < rows; ++i) {
                const Address a{kA, i * p_.a_step + k * a_k()};
                if (i < spread && k < steps / part * part) {
                    const int from = element - 1 - static_cast<int>(i);
                    if (k % part == 0) out_.broadcast_row(from, a, part * p_.element_bytes, bits);
                    out_.spread(element, from, static_cast<int>(k % part), bits);
                    out_.multiply_add(sum(i, 0), columns, element, bits);
                } else if (fuses(vectors)) {
                    out_.multiply_add(sum(i, 0), columns, a, bits);
                } else {
                    out_.broadcast(element, a, bits);
                    for (int j = 0; j < vectors; ++j) {
                        if (p_.arithmetic == Arithmetic::bytes)
                            out_.multiply_add(sum(i, j), element, columns - j, bits_of(j));
                        else
                            out_.multiply_add(sum(i, j), columns - j, element, bits_of(j));
                    }
                }
            }
        };
        if (rounds() > 0) {
            out_.set_counter(kSteps, rounds());
            const std::size_t start = out_.here();
            fetch();
            for (std::int64_t k = 0; k < loop_; ++k) step(k, loop_);
            move_steps(loop_);
            out_.count_down(kSteps, start);
        }
        const std::int64_t left = p_.k - rounds() * loop_;
        for (std::int64_t k = 0; k < left / 2 * 2; ++k) step(k, left);
        if (left % 2 != 0) {
            // The element that a last pair lacks counts as zero: -0 becomes +0.
            if (p_.pairs != 0) {
                out_.zero(columns);
                for (std::int64_t i = 0; i < rows; ++i)
                    for (int j = 0; j < vectors; ++j) out_.multiply_add(sum(i, j), columns, columns, bits);
            }
            step(p_.pairs != 0 ? left : left - 1, left);
        }
        move_steps(-rounds() * loop_);
        for (std::int64_t i = 0; i < rows; ++i)
            for (int j = 0; j < vectors; ++j) out_.store(sum(i, j), {kC, i * p_.c_step + at(j)}, bits_of(j), masked(j));
    }

    std::int64_t a_k() const { return p_.a_k != 0 ? p_.a_k : p_.element_bytes; }
    void move_steps(std::int64_t steps) { out_.move(kA, steps * a_k()), out_.move(kB, steps * p_.b_step); }

    const Generated p_;
    Assembler out_;
    std::int64_t loop_ = 0;  // steps of k in a loop; 0: no loop
    struct Wanted {
        Base base;
        std::int64_t lines;  // in each round
    };
    std::vector<Wanted> wanted_;
    int lowest_ = kRegisters;
};

/// Code in pages of its own, which are writable and later executable, never both; null if the system refuses.
GeneratedKernel executable(const std::vector<std::uint8_t>& code) {
    void* const memory = mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    std::memcpy(memory, code.data(), code.size());
    if (mprotect(memory, code.size(), PROT_READ | PROT_EXEC) != 0) {
        munmap(memory, code.size());
        return nullptr;
    }
    return reinterpret_cast<GeneratedKernel>(memory);
}

bool allowed() {
    static const bool is = [] {
        const char* const given = std::getenv("TENON_GENERATE");
        const std::string_view word = given && *given ? given : "on";
        if (word != "on" && word != "off") throw ValueError(text("TENON_GENERATE=", word, ": neither on nor off"));
        return word == "on";
    }();
    return is && isa() == Isa::avx512;
}

bool spreads(const Generated& p) { return p.arithmetic == Arithmetic::real && p.pairs == 0 && p.a_k == 0; }

bool fits(const Generated& p) {
    constexpr std::int64_t kFar = 1 << 24;
    const auto near = [&](std::int64_t step) { return step > -kFar && step < kFar; };
    const std::int64_t vectors = std::max(p.width / p.lanes, p.rest_width / p.rest_lanes),
                       most = p.loop_steps > 0 ? kMaxLooped : kMaxGenerated;
    return near(p.a_step) && near(p.a_next) && near(p.b_next) && near(p.c_next) && near(p.a_k) && near(p.b_step) &&
           near(p.c_step) && p.n > 0 && p.n <= most && p.k > 0 && p.k <= most && p.rows > 0 &&
           p.rows * vectors + vectors + 1 + p.spread <= kRegisters && (p.spread == 0 || spreads(p));
}

class Kernels {
  public:
    std::mutex& mutex() { return mutex_; }

    GeneratedKernel find(const Generated& product) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (const auto found = known_.find(product); found != known_.end()) return found->second;
        if (bytes_ >= kGeneratedBytes) return nullptr;
        const std::vector<std::uint8_t> code = Generator(product).run();
        const GeneratedKernel kernel = code.empty() ? nullptr : executable(code);
        // A kernel that could not be made is remembered too, and is not tried again.
        known_.emplace(product, kernel);
        bytes_ += static_cast<std::int64_t>((code.size() + 4095) / 4096 * 4096 + 2 * sizeof(product));
        return kernel;
    }

  private:
    struct Hash {
        std::size_t operator()(const Generated& p) const {
            std::uint64_t words[sizeof(p) / 8], hash = 0;
            std::memcpy(words, &p, sizeof(p));
            for (const std::uint64_t word : words) hash = (hash ^ word) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
            return hash;
        }
    };
    std::mutex mutex_;
    std::unordered_map<Generated, GeneratedKernel, Hash> known_;
    std::int64_t bytes_ = 0;
};

/// Never destroyed: a product may be prepared while other threads end.
Kernels& all_kernels() {
    static Kernels& kernels = *new Kernels;
    return kernels;
}

/// A forked child has one thread: a lock that another thread held at the fork would never be released there.
[[maybe_unused]] const int registered =
    pthread_atfork([] { all_kernels().mutex().lock(); }, [] { all_kernels().mutex().unlock(); },
                   [] { all_kernels().mutex().unlock(); });

#endif

}  // namespace

bool rows_share_vectors([[maybe_unused]] const Generated& p) {
#if defined(__x86_64__)
    const std::int64_t row = p.n * p.element_bytes;
    return spreads(p) && p.n == p.k && (p.n == 2 || p.n == 4) && p.a_step == row && p.c_step == row &&
           rows_of(p) <= kMaxGenerated && shared_bytes(p) >= std::max<std::int64_t>(16, 2 * row);
#else
    return false;
#endif
}

Generated tiled(std::int64_t element_bytes, std::int64_t rows, std::int64_t n, std::int64_t k) {
    constexpr std::int64_t kRows[] = {24, 14, 9, 6}, kVectors = 4, kVectorBytes = 64;  // rows by the vectors of a tile
    const std::int64_t lanes = kVectorBytes / element_bytes, vectors = (n + lanes - 1) / lanes,
                       w = std::clamp<std::int64_t>(vectors, 1, kVectors), rest = vectors % w == 0 ? w : vectors % w;
    Generated g{};
    g.element_bytes = element_bytes, g.n = n, g.k = k;
    g.width = w * lanes, g.rest_width = rest * lanes, g.lanes = g.rest_lanes = lanes;
    g.panels = (rows + kRows[w - 1] - 1) / kRows[w - 1], g.rows = (rows + g.panels - 1) / g.panels;
    g.tall = rows - g.panels * (g.rows - 1);
    return g;
}

void spread_rows([[maybe_unused]] Generated& p) {
#if defined(__x86_64__)
    // Of 16 x 16 x 16 in float32, 3 rows take 1.04 of the time, 2 rows 1.09, none 1.18, 6 to 12 as much (Zen 5).
    constexpr std::int64_t kRows = 4;
    if (p.a_k == p.element_bytes) p.a_k = 0;
    const bool two_loads = units().two_fma_units && !units().three_loads;
    if (two_loads && spreads(p) && p.width == p.lanes && p.rest_width == p.lanes) p.spread = kRows;
#endif
}

bool generates_kernels() {
#if defined(__x86_64__)
    return allowed();
#else
    return false;
#endif
}

GeneratedKernel generated_kernel([[maybe_unused]] const Generated& product) {
#if defined(__x86_64__)
    if (allowed() && fits(product)) return all_kernels().find(product);
#endif
    return nullptr;
}

}  // namespace tenon::product::dense
