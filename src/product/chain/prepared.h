// Chains that come back: how one runs depends on its shapes, strides, dtypes and labels and on nothing in memory, and
// finding it out takes some microseconds, which small chains notice.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include "product/chain/blocks.h"
#include "product/chain/lanes.h"
#include "product/chain/panels.h"
#include "product/chain/rows.h"
#include "product/chain/small.h"

namespace tenon::product::chain {

/// Nothing: one product after the other.
using AnyForm = std::variant<std::monostate, SmallForm, PanelsForm, LanesForm, RowsForm, BlocksForm>;
struct Choice {
    AnyForm form;
    const char* declines = nullptr;  // why the two products do not run as one, or null
};
/// The one order in which forms are asked.
Choice choose(const Chain& chain, const Intermediate& intermediate);

/// Elements of a, c and the output below which even the decision takes too long.
inline constexpr std::int64_t kTinyElements = 4096;
inline bool is_tiny(const Chain& c) {
    return c.a.layout.count() + c.c.layout.count() + c.out.layout.count() < kTinyElements;
}

/// All that the form of a chain depends on.
class PreparedKey {
  public:
    explicit PreparedKey(const Chain& chain);
    /// False with tapes or scaling, or where it does not fit.
    bool is_valid() const { return valid_; }
    friend bool operator==(const PreparedKey& x, const PreparedKey& y);

  private:
    void add(std::int64_t word);
    void add(const Layout& layout);
    void add(const View& view);
    void add(std::span<const std::uint8_t> labels);

    std::array<std::int64_t, 128> words_;
    std::size_t size_ = 0;
    bool valid_ = true;
};

struct Prepared {
    PreparedKey key;
    Intermediate intermediate;
    AnyForm form;

    explicit Prepared(const Chain& chain, const PreparedKey& of)
        : key(of), intermediate(analyse(chain)), form(choose(chain, intermediate).form) {}
    Prepared(const Prepared&) = delete;  // forms point at the intermediate
    Prepared& operator=(const Prepared&) = delete;
};

/// A chain's, new or of a call before: nobody else has it meanwhile.
class Borrowed {
  public:
    explicit Borrowed(const Chain& chain);
    ~Borrowed();
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    AnyForm& form() { return prepared_->form; }

  private:
    std::unique_ptr<Prepared> prepared_;
};

}  // namespace tenon::product::chain
