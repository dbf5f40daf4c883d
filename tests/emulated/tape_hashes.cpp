#include "hashes.h"
#include "tape/tape.h"

namespace tenon::hashes {
namespace {

using namespace tape;

constexpr DType kDTypes[] = {DType::boolean,  DType::int8,    DType::int16,  DType::int32,  DType::int64,
                             DType::uint8,    DType::uint16,  DType::uint32, DType::uint64, DType::float16,
                             DType::bfloat16, DType::float32, DType::float64};
constexpr Opcode kOpcodes[] = {
#define X(op, arity, types) Opcode::op,
    TENON_OPCODES(X)
#undef X
};

void hash_opcode(Opcode op, DType type, DType result) {
    constexpr std::int64_t kN = 20011;
    std::vector<std::vector<std::byte>> memory;
    std::vector<View> inputs;
    std::vector<DType> types;
    for (int i = 0; i < arity(op); ++i) {
        types.push_back(op == Opcode::select && i == 0 ? DType::boolean : type);
        memory.push_back(spread(types.back(), kN, static_cast<std::uint64_t>(i)));
    }
    for (std::size_t i = 0; i < types.size(); ++i)
        inputs.push_back({memory[i].data(), types[i], Layout::contiguous({kN})});
    std::vector<std::byte> out(kN * size_of(result));
    const View output{out.data(), result, Layout::contiguous({kN})};
    run(single(op, types, result), inputs, std::span(&output, 1));
    report(std::string(name(op)) + " " + std::string(name(type)) + " " + std::string(name(result)), result, out);
}

void hash_reductions(DType type) {
    const Shape shape{300, 5, 131};
    constexpr const char* kNames[] = {"sum", "prod", "max", "min"};
    for (int op = type == DType::boolean ? 2 : 0; op < 4; ++op)
        for (int axis = 0; axis < 3; ++axis) {
            std::vector<std::byte> in = spread(type, count(shape), 0);
            Shape left = shape;
            left.erase(axis);
            std::vector<std::byte> out(static_cast<std::size_t>(count(left)) * size_of(type));
            const View from{in.data(), type, Layout::contiguous(shape)};
            reduce(static_cast<Reduction>(op), from, {axis}, {out.data(), type, Layout::contiguous(left)});
            const std::string what =
                std::string(kNames[op]) + " " + std::string(name(type)) + " axis " + std::to_string(axis);
            report(what, type, out);
            cumulative(static_cast<Reduction>(op), from, axis, from);
            report("cumulative " + what, type, in);
        }
}

}  // namespace

void tape_hashes() {
    for (const Opcode op : kOpcodes)
        for (const DType type : kDTypes) {
            if (!accepts(op, type)) continue;
            if (op != Opcode::cast)
                hash_opcode(op, type, result_type(op, type));
            else
                for (const DType to : kDTypes) hash_opcode(op, type, to);
        }
    for (const DType type : kDTypes) hash_reductions(type);
}

}  // namespace tenon::hashes
