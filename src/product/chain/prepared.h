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
AnyForm form_for(const Chain& chain, const Intermediate& intermediate);

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
        : key(of), intermediate(analyse(chain)), form(form_for(chain, intermediate)) {}
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
