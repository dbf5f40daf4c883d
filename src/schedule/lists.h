// Lists of numbers, one after another in a single vector.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon::schedule {

class Lists {
  public:
    /// Empty, with room for `lists` lists.
    explicit Lists(std::size_t lists) { begin_.reserve(lists + 1), begin_.push_back(0); }
    /// `lists` lists. `each` calls its argument with a list and a number for it, and is itself called twice.
    template <class Each>
    Lists(std::size_t lists, const Each& each) : begin_(lists + 1) {
        each([&](std::uint32_t list, std::uint32_t) { ++begin_[list + 1]; });
        for (std::size_t i = 0; i < lists; ++i) begin_[i + 1] += begin_[i];
        all_.resize(begin_.back());
        std::vector<std::uint32_t> at(begin_.begin(), begin_.end() - 1);
        each([&](std::uint32_t list, std::uint32_t value) { all_[at[list]++] = value; });
    }

    std::size_t size() const { return begin_.size() - 1; }
    std::span<const std::uint32_t> operator[](std::size_t i) const {
        return {all_.data() + begin_[i], all_.data() + begin_[i + 1]};
    }
    void add(std::uint32_t value) { all_.push_back(value); }
    void end_list() { begin_.push_back(static_cast<std::uint32_t>(all_.size())); }
    /// Ends a list of the numbers added since the last one, each once.
    void end_set() {
        const auto first = all_.begin() + begin_.back();
        std::sort(first, all_.end());
        all_.erase(std::unique(first, all_.end()), all_.end());
        end_list();
    }

  private:
    std::vector<std::uint32_t> begin_, all_;
};

/// For each number below `numbers`, the lists that hold it.
inline Lists holders(const Lists& lists, std::size_t numbers) {
    return {numbers, [&](auto&& add) {
                for (std::uint32_t i = 0; i < lists.size(); ++i)
                    for (const std::uint32_t n : lists[i]) add(n, i);
            }};
}

}  // namespace tenon::schedule
