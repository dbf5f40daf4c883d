// Errors. Every message names the operation, the operands' shapes and dtypes, and the rule that was broken.
// A call that throws leaves its operands and outputs as they were.
#pragma once

#include <stdexcept>
#include <string>

#include "tenon/export.h"

namespace tenon {

/// The family's root; catch this to catch everything Tenon throws.
class TENON_API Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Shapes, ranks or axes do not fit the operation.
class TENON_API ShapeError : public Error {
  public:
    using Error::Error;
};

/// A dtype the operation does not take, or a pair without a promotion.
class TENON_API TypeError : public Error {
  public:
    using Error::Error;
};

/// A value outside its range (rank 0, a negative learning rate, an unknown name).
class TENON_API ValueError : public Error {
  public:
    using Error::Error;
};

/// A file that cannot be read, or that is not what it claims to be.
class TENON_API FileError : public Error {
  public:
    using Error::Error;
};

/// An allocation that failed.
class TENON_API MemoryError : public Error {
  public:
    using Error::Error;
};

}  // namespace tenon
