// Random numbers from keys: a number is a function of key, shape and dtype alone, never of what was drawn before, of
// threads or of the instruction set. The bits are Philox4x32-10's (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A key is used once: draw with key.next(), or from the keys of a split.
#pragma once

#include <cstdint>
#include <vector>

#include "tenon/tensor.h"

namespace tenon::random {

/// A 64-bit key: a value, so that a copy draws the same numbers again. Its derived keys are independent of it and of
/// one another.
///
/// ```cpp
/// random::Key key(7);
/// const Tensor x = random::normal(key.next(), {2, 3}), y = random::normal(key.next(), {2, 3});
/// assert(x.to<float>() != y.to<float>());
/// ```
class TENON_API Key {
  public:
    explicit Key(std::uint64_t seed) : value_(seed) {}
    /// The key whose tensor() this is. For an argument of a function that is being compiled (tenon/compile.h), the key
    /// has the argument's value in each call. Throws TypeError unless it is a uint64 scalar.
    explicit Key(const Tensor& tensor);

    /// All there is to a key: Key(key.value()) is the same key. Throws ValueError for an argument's.
    std::uint64_t value() const;
    /// A fresh key; this one moves on to another.
    Key next();
    /// n keys; this one is unchanged. Throws ValueError for n below 0.
    std::vector<Key> split(int n) const;
    /// A key derived from a number, such as a step or an index; this one is unchanged.
    Key fold_in(std::uint64_t number) const;
    /// As the input of a graph: a uint64 scalar. The graph of a step does not change with its key.
    Tensor tensor() const;

    friend bool operator==(const Key& a, const Key& b) {
        return a.value_ == b.value_ && a.argument_.node() == b.argument_.node();
    }

  private:
    Key derived(std::uint64_t domain, std::uint64_t number) const;

    std::uint64_t value_ = 0;
    Tensor argument_;  // the number that it is at each call, in place of the value
};

/// Evenly from [low, high); of as many bits as the dtype's significand has (24 for float32), so that each number of the
/// grid is equally likely. Throws ValueError unless low < high, both finite; TypeError for a dtype that is not
/// floating.
TENON_API Tensor uniform(const Key& key, const Shape& shape, double low = 0, double high = 1,
                         DType dtype = DType::float32);
/// Normally distributed, by the Box-Muller transform: |x - mean| <= 6.8 deviations in float32 and below, 9.5 in
/// float64. Throws ValueError unless mean and deviation are finite and the deviation is not negative; TypeError for a
/// dtype that is not floating.
TENON_API Tensor normal(const Key& key, const Shape& shape, double mean = 0, double deviation = 1,
                        DType dtype = DType::float32);
/// True with probability p, to 2^-32; p broadcasts to the shape (otherwise ShapeError). Throws TypeError unless p is
/// floating.
TENON_API Tensor bernoulli(const Key& key, const Tensor& p, const Shape& shape);
/// Integers from [low, high), of 64 bits by remainder: the bias is below (high - low) / 2^64. Throws ValueError unless
/// low < high and high - low < 2^63 and both fit the dtype; TypeError for a dtype that is not an integer.
TENON_API Tensor randint(const Key& key, const Shape& shape, std::int64_t low, std::int64_t high,
                         DType dtype = DType::int64);
/// The numbers 0, ..., n - 1 in random order, as int64: the order that sorts n random words of 64 bits. Throws
/// ValueError for n below 0.
TENON_API Tensor permutation(const Key& key, std::int64_t n);

}  // namespace tenon::random
