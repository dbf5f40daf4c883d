// What a primitive is: one value of this struct, in one file, registered by name. Everything else (evaluation,
// derivatives, the test sweep, documentation) is derived from it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tape/tape.h"
#include "tensor/node.h"

namespace tenon {

/// What the scheduler may do with a primitive.
enum class Role : std::uint8_t { leaf, pointwise, view, reduction, product, indexing, opaque };

/// How the tangent is found. A linear primitive needs only its adjoint: its tangent is itself.
enum class Derivative : std::uint8_t {
    unset,  // not said: the tests fail
    none,  // integers, booleans, piecewise constants: the tangent is zero
    rule,  // `tangent` is given
    linear,  // the primitive itself, on the tangents of the operands that `linear` lists
    multilinear,  // a sum of terms, each with one operand replaced by its tangent
};

/// The primal values a tangent rule sees. `d[i]` is undefined where operand i does not vary.
struct TangentContext {
    const Node& node;
    const Tensor& out;
    std::span<const Tensor> in;
    std::span<const Tensor> d;
};

/// The transpose of a linear primitive: the cotangent of operand `operand`, from `ct`, that of the output.
struct AdjointContext {
    const Node& node;
    std::span<const Tensor> in;  // operands that vary are placeholders: only their shapes are of use
    int operand;
    const Tensor& ct;
};

struct Cost {
    double flops;
    double bytes;
};

/// A call that the test sweep makes: `apply` on floating inputs of these shapes, drawn uniformly from [low, high].
struct Sample {
    std::vector<Shape> shapes;
    double low = -1, high = 1;
    Tensor (*apply)(std::span<const Tensor> in) = nullptr;
};

struct Signature {
    Shape shape;
    DType dtype;
};

struct Primitive {
    std::string_view name;
    std::string_view doc;  // one line: what it computes
    Role role = Role::opaque;
    tape::Opcode opcode{};  // pointwise only
    std::optional<tape::Reduction> reduction{};  // of the axes that the attributes list
    /// The rule for the result's shape and dtype. Throws if the operands do not fit.
    Signature (*infer)(const Primitive&, std::span<const Tensor> in, const Attributes&) = nullptr;
    Derivative derivative = Derivative::unset;
    /// Bit i is set if the primitive is linear in operand i; bit 31 stands for all operands from 31 on. `adjoint` is
    /// given if any bit is set.
    std::uint32_t linear = 0;
    /// May return an undefined tensor for a tangent that is zero.
    Tensor (*tangent)(const TangentContext&) = nullptr;
    Tensor (*adjoint)(const AdjointContext&) = nullptr;
    Cost (*cost)(const Node&) = nullptr;  // null: see cost_of
    /// For transfers: the result's device. Null for all others, whose result is on the device of the operands.
    Device (*device)(const Attributes&) = nullptr;
    /// For views: sets `out` to the result's layout in operand 0's memory, or returns false, and `reference` then
    /// copies.
    bool (*view)(const Node&, const Layout& in, Layout& out) = nullptr;
    /// The plain sequential code, for operands of any layout, that defines the result's bits. `out` is new, contiguous
    /// memory.
    void (*reference)(const Node&, std::span<const View> in, const View& out) = nullptr;
    /// Gives the same bits faster; null if there is only the reference.
    void (*run)(const Node&, std::span<const View> in, const View& out) = nullptr;
    /// For products: runs a tape on the sums before they are stored. `more` are the tape's inputs after the product
    /// (see product/epilogue.h).
    void (*run_with_epilogue)(const Node&, std::span<const View> in, const tape::Tape& tape, std::span<const View> more,
                              const View& out) = nullptr;
    /// For indexing and opaque primitives, whether a run may throw because of its operands' elements: never if
    /// refuses_nothing; and if checked_rows >= 0, only for an element of that operand that is no row of operand 0.
    bool refuses_nothing = false;
    int checked_rows = -1;
    std::vector<Sample> (*samples)() = nullptr;
};

/// A static object of this type registers a primitive.
struct Register {
    explicit Register(const Primitive& p);
};

/// All registered primitives, sorted by name.
std::vector<const Primitive*> primitives();

/// Records a node. Throws what `infer` throws, and ValueError for operands on different devices, and then records
/// nothing.
Tensor record(const Primitive& p, std::span<const Tensor> in, Attributes attributes = {},
              const void* site = __builtin_return_address(0));
inline Tensor record(const Primitive& p, std::initializer_list<Tensor> in, Attributes attributes = {},
                     const void* site = __builtin_return_address(0)) {
    return record(p, std::span<const Tensor>(in.begin(), in.size()), std::move(attributes), site);
}
/// The same without attributes, for at most three operands, which it moves from: the usual elementwise operation.
Tensor record_moved(const Primitive& p, std::span<Tensor> in, const void* site);
/// A node of the shape, dtype and device that the caller has found: nothing is inferred or checked. Takes over one
/// reference to each operand.
Tensor record_known(const Primitive& p, const Shape& shape, DType dtype, const std::optional<Device>& device,
                    std::span<Node* const> in, std::span<const std::int64_t> attributes, const void* site);
/// The same primitive, attributes and payload on other operands of the same shapes and dtypes.
Tensor record_again(const Node& node, std::span<const Tensor> in);

/// Of a node alone: its primitive, dtype, shape and attributes.
std::uint64_t local_hash(const Node& node);

/// FLOPs and bytes: the primitive's own, else one FLOP an output element (none for views and leaves), and every operand
/// and the output moved once.
Cost cost_of(const Node& node);

/// The checkpoint that nodes are being recorded in on this thread; 0 for none.
TENON_NEAR extern constinit thread_local std::uint32_t current_region;

/// Flags in the number of a checkpoint. kLibraryRegion: the library made it, it has few operations, and gradients of
/// products that read its result recompute that too. kRecomputedRegion: its nodes are recomputed ones of such a
/// checkpoint.
inline constexpr std::uint32_t kLibraryRegion = 1u << 31, kRecomputedRegion = 1u << 30;

/// Nodes that the thread records while one lives form a checkpoint: the derivative recomputes them.
class Region {
  public:
    explicit Region(std::uint32_t kind = 0);
    ~Region() { current_region = outer_; }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

  private:
    std::uint32_t outer_;
};

/// Where a node was recorded, for error messages: the nearest exported symbol, if there is one, and the address within
/// its program or library.
std::string site_of(const Node& node);

}  // namespace tenon
