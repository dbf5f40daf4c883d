#include "cuda/wgmma.h"

#include "base/text.h"

namespace tenon::cuda {
namespace {

/// item(0) to item(n - 1), separated by commas.
template <class F>
std::string list(int n, F item) {
    std::string s;
    for (int i = 0; i < n; ++i) s += (i ? ", " : "") + item(i);
    return s;
}

const char* ptx_type(DType t) {
    switch (t) {
        case DType::int8:
            return ".s8";
        case DType::uint8:
            return ".u8";
        case DType::float16:
            return ".f16";
        default:
            return ".bf16";
    }
}

}  // namespace

std::string print_wgmma(int n, LeftOperand left) {
    const int sums = n / 2;
    const bool registers = left == LeftOperand::registers;
    const auto reg = [](int i) { return text("%", i); };
    const std::string d = list(sums, reg);
    const int b = sums + (registers ? 4 : 1);  // index of b among the asm statement's operands
    const std::string a = registers ? text("{", list(4, [&](int i) { return reg(sums + i); }), "}") : reg(sums);
    const std::string flags = registers ? text(", %", b + 2) : text(", %", b + 2, ", %", b + 3);
    return text(
        "template <int ", registers ? "" : "a_transposed, int ", "b_transposed>\n",
        "__device__ __forceinline__ void wgmma(float (&d)[", sums, "], ",
        registers ? "const unsigned (&a)[4]" : "unsigned long long a",
        ", unsigned long long b, int add) {\n    asm volatile(\"{\\n.reg .pred p;\\nsetp.ne.b32 p, %", b + 1,
        ", 0;\\n\"\n        \"wgmma.mma_async.sync.aligned.m64n", n, "k16.f32.bf16.bf16 {", d, "}, ", a, ", %", b,
        ", p, 1, 1", flags, ";\\n}\\n\"\n        : ", list(sums, [](int i) { return text("\"+f\"(d[", i, "])"); }),
        "\n        : ", registers ? list(4, [](int i) { return text("\"r\"(a[", i, "])"); }) : std::string("\"l\"(a)"),
        ", \"l\"(b), \"r\"(add)", registers ? "" : ", \"n\"(a_transposed)", ", \"n\"(b_transposed));\n}\n");
}

std::string print_wgmma(int n, DType a, DType b) {
    const int sums = n / 2;
    const bool bytes = size_of(a) == 1;
    const auto reg = [](int i) { return text("%", i); };
    return text("__device__ __forceinline__ void wgmma(", bytes ? "int" : "float", " (&d)[", sums,
                "], unsigned long long a, unsigned long long b, int add) {\n    asm volatile(\"{\\n.reg .pred "
                "p;\\nsetp.ne.b32 p, %",
                sums + 2, ", 0;\\n\"\n        \"wgmma.mma_async.sync.aligned.m64n", n, bytes ? "k32.s32" : "k16.f32",
                ptx_type(a), ptx_type(b), " {", list(sums, reg), "}, %", sums, ", %", sums + 1, ", p",
                bytes ? "" : ", 1, 1, 0, 0", ";\\n}\\n\"\n        : ",
                list(sums, [&](int i) { return text(bytes ? "\"+r\"(d[" : "\"+f\"(d[", i, "])"); }),
                "\n        : \"l\"(a), \"l\"(b), \"r\"(add));\n}\n");
}

}  // namespace tenon::cuda
