#include "cuda/tiled_product.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"
#include "cuda/wgmma.h"
#include "product/axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

struct Input {
    const void* data;
    std::int64_t row, batch;
};
// As in tiled_product.cu.
constexpr std::int64_t kLines = 128, kLine = 128;
constexpr std::int64_t kStaging = 2 * 64 * 256;
constexpr int kThreads = 384;
// As in byte_rows.cu.
constexpr std::int64_t kFewRows = 16, kMaxTall = 2, kFewColumns = 128, kFewStep = 8 * 64;
constexpr int kFewThreads = 256;

struct Arguments {
    std::int32_t m, n, pieces, tiles_m, tiles_n, batch, a_batched, b_batched, per_line;
    void* c;
    std::int64_t c_row, c_batch;
    Input inputs[product::kMaxEpilogueInputs];
};

struct FewRowsArguments {
    std::int32_t m, n, k;
    const void *a, *b;
    std::int64_t a_row, b_line, a_batch, b_batch;
    void* c;
    std::int64_t c_row, c_batch;
    Input inputs[product::kMaxEpilogueInputs];
};

struct Form {
    std::int64_t columns;
    int stages;
    std::int64_t cluster = 1;
};

std::int64_t size(DType t) { return static_cast<std::int64_t>(size_of(t)); }

/// The widest tiles of which there are nearly as many as multiprocessors.
Form form_of(const TiledProduct& p) {
    constexpr std::int64_t kEnough = 96;
    const std::int64_t lines = ceil_div(p.m, kLines) * p.batch;
    if (p.n > 128 && lines * ceil_div(p.n, 256) >= kEnough) return {256, 4, p.m > kLines ? 2 : 1};
    // 64 columns of 16-bit sums would not fill the lines in which sums are staged.
    if (size(product_type(p)) == 2 || (p.n > 64 && lines * ceil_div(p.n, 128) >= kEnough)) return {128, 5};
    return {64, 6};
}
bool in_sixteens(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

/// The number of elements of the result that a thread takes at once.
std::int64_t piece_of(const TiledProduct& p) { return 16 / size(product_type(p)); }

bool lies(const void* data, DType type, std::int64_t row, std::int64_t batch, std::int64_t piece) {
    const std::int64_t bytes = std::min<std::int64_t>(16, piece * size(type));
    const auto whole = [&](std::int64_t stride) { return stride * size(type) % bytes == 0; };
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data)) % bytes == 0 && whole(row) && whole(batch);
}

std::size_t inputs_of(const TiledProduct& p) { return p.tape ? p.tape->inputs.size() - 1 : 0; }

/// Prints the tape as the kernel uses it. The strides of an input decide how it is read.
std::string print_epilogue(const TiledProduct& p) {
    const DType product = product_type(p);
    const std::int64_t piece = piece_of(p);
    std::string members, loads, registers, code;
    std::vector<std::string> names{text("widen<", type_name(product), ">(x0.at[j])")};
    for (std::size_t i = 0; i < inputs_of(p); ++i) {
        const TiledProduct::Input& in = p.inputs[i];
        const std::string type = stored(in.type);
        members += text("    Pack<", type, ", kPieceOf> x", i + 1, ";\n");
        loads += text("    {\n        const auto* from = static_cast<const ", type, "*>(in.at[", i,
                      "].data) + batch * in.at[", i, "].batch + row * in.at[", i, "].row", in.column ? " + column" : "",
                      ";\n        l.x", i + 1, " = ", in.column ? "load_pack" : "load_repeated", "<", type,
                      ", kPieceOf>(from);\n    }\n");
        names.push_back(text("widen<", type_name(in.type), ">(l.x", i + 1, ".at[j])"));
    }
    std::size_t result = 0;
    if (p.tape) {
        for (const tape::Instruction& c : p.tape->code) {
            code += text("        const auto r", names.size(), " = ", expression(c, names, true), ";\n");
            names.push_back(text("r", names.size()));
        }
        result = p.tape->outputs[0];
    }
    return text(
        "#include \"cuda/wide.cuh\"\nnamespace tenon::cuda {\nconstexpr int kPieceOf = ", piece,
        ";\nstruct Inputs {\n    struct {\n        const void* data;\n        long long row, batch;\n    } at[",
        product::kMaxEpilogueInputs, "];\n};\nstruct Loaded {\n", members,
        "};\n__forceinline__ void load(Loaded& l, const Inputs& in, long long batch, long long row, long long "
        "column) {\n",
        loads, "}\n__forceinline__ void epilogue(uint4 sums, const Loaded& l, void* to) {\n    const auto x0 = ",
        "__builtin_bit_cast(Pack<", stored(product), ", kPieceOf>, sums);\n    Pack<", stored(p.out),
        ", kPieceOf> y;\n#pragma unroll\n    for (int j = 0; j < kPieceOf; ++j) {\n", code, "        y.at[j] = narrow<",
        type_name(p.out), ">(", names[result], ");\n    }\n    store_pack(static_cast<", stored(p.out),
        "*>(to), y);\n}\n}  // namespace tenon::cuda\n",
        "using tenon::cuda::Inputs, tenon::cuda::Loaded, tenon::cuda::load, tenon::cuda::epilogue;\n");
}

/// Prints `store_two`, which rounds two neighbouring sums and stores them in shared memory.
std::string print_store(DType product) {
    const std::string head = text("using Sum = ", product == DType::int32 ? "int" : "float",
                                  ";\n__device__ __forceinline__ void store_two(unsigned to, Sum a, Sum b) {\n");
    if (product == DType::int32)
        return head +
               "    asm volatile(\"st.shared.v2.b32 [%0], {%1, %2};\" ::\"r\"(to), \"r\"(a), \"r\"(b) : "
               "\"memory\");\n}\n";
    return text(head, "    unsigned r;\n    asm(\"cvt.rn.", product == DType::float16 ? "f16x2" : "bf16x2",
                ".f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(b), \"f\"(a));\n",
                "    asm volatile(\"st.shared.b32 [%0], %1;\" ::\"r\"(to), \"r\"(r) : \"memory\");\n}\n");
}

TensorMap lines_of(const void* data, DType type, std::int64_t n, std::int64_t k, std::int64_t row, std::int64_t batches,
                   std::int64_t batch, std::int64_t box) {
    // The driver wants strides that are multiples of 16 bytes, also of axes with one element.
    const std::array<std::uint64_t, 3> extents{static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(n),
                                               static_cast<std::uint64_t>(batch ? batches : 1)};
    const std::array<std::uint64_t, 2> strides{
        static_cast<std::uint64_t>(n > 1 ? row * size(type) : ceil_div(k * size(type), 16) * 16),
        static_cast<std::uint64_t>(batch ? batch * size(type) : 16)};
    const std::array<std::uint32_t, 3> boxes{static_cast<std::uint32_t>(kLine / size(type)),
                                             static_cast<std::uint32_t>(box), 1};
    return encode(type, const_cast<void*>(data), {extents, strides, boxes, Swizzle::bytes128, 3});
}

}  // namespace

bool is_few_rows(const TiledProduct& p) {
    return product::is_byte(p.a_type) && p.m <= kMaxTall * kFewRows && p.k % 16 == 0 && (!p.b_across || p.n % 16 == 0);
}

DType product_type(const TiledProduct& p) { return product::is_byte(p.a_type) ? DType::int32 : p.a_type; }

std::string declines(const TiledProduct& p) {
    const bool bytes = product::is_byte(p.a_type) && product::is_byte(p.b_type);
    if (!bytes && (p.a_type != p.b_type || (p.a_type != DType::bfloat16 && p.a_type != DType::float16)))
        return text("takes bfloat16, float16, int8 and uint8, not ", name(p.a_type), " by ", name(p.b_type));
    if (p.m > INT32_MAX || p.n > INT32_MAX || p.k > INT32_MAX || p.batch > INT32_MAX ||
        ceil_div(p.m, kLines) * ceil_div(p.n, kLines) * p.batch > INT32_MAX / 2)
        return "more than 2^30 tiles";
    if (p.b_across && !is_few_rows(p)) return "what is summed does not lie side by side in both operands";
    const auto operand = [](const void* data, DType type, std::int64_t n, std::int64_t row, std::int64_t batch) {
        return in_sixteens(data) && (n == 1 || row * size(type) % 16 == 0) && batch * size(type) % 16 == 0 &&
               row >= 0 && batch >= 0;
    };
    if (!operand(p.a, p.a_type, p.m, p.a_row, p.a_batch) ||
        !operand(p.b, p.b_type, p.b_across ? p.k : p.n, p.b_row, p.b_batch))
        return "lines that are no multiples of 16 bytes";
    const std::int64_t piece = piece_of(p);
    if (p.n % piece != 0 || !lies(p.c, p.out, p.c_row, p.c_batch, piece))
        return text("a result that does not lie in lines of ", piece);
    for (std::size_t i = 0; i < inputs_of(p); ++i) {
        const TiledProduct::Input& in = p.inputs[i];
        if (in.column != 0 && (in.column != 1 || !lies(in.data, in.type, in.row, in.batch, piece)))
            return "an operand of the epilogue lies across the product";
    }
    return {};
}

std::string declines(const Gpu& gpu, const TiledProduct& p) {
    if (gpu.major() != 9 || gpu.minor() != 0) return "the kernel is of compute capability 9.0 alone (wgmma)";
    return declines(p);
}

namespace {

Unit unit_of_few_rows(const TiledProduct& p) {
    const auto sign = [](const char* macro, DType t) { return text(macro, t == DType::int8 ? "s8" : "u8"); };
    Unit u = unit("cuda/byte_rows.cu", {text("-DTALL=", ceil_div(p.m, kFewRows)), text("-DACROSS=", int{p.b_across}),
                                        sign("-DA_SIGN=", p.a_type), sign("-DB_SIGN=", p.b_type)});
    u.text = text(print_epilogue(p), "constexpr int kOutSize = ", size(p.out), ";\n", u.text);
    return u;
}

void run_few_rows(Gpu& gpu, const TiledProduct& p, const std::string& tape) {
    const Kernel& kernel = gpu.printed(
        text("byte rows ", static_cast<int>(p.a_type), " ", static_cast<int>(p.b_type), " ", static_cast<int>(p.out),
             " ", p.b_across, " ", p.m > kFewRows, " ", tape),
        [&] { return unit_of(p); }, "byte_rows");
    FewRowsArguments arguments{static_cast<std::int32_t>(p.m),
                               static_cast<std::int32_t>(p.n),
                               static_cast<std::int32_t>(p.k),
                               p.a,
                               p.b,
                               p.a_row,
                               p.b_row,
                               p.a_batch,
                               p.b_batch,
                               p.c,
                               p.c_row,
                               p.c_batch,
                               {}};
    for (std::size_t i = 0; i < inputs_of(p); ++i)
        arguments.inputs[i] = {p.inputs[i].data, p.inputs[i].row, p.inputs[i].batch};
    // The blocks of a cluster have the same columns and share what is summed, in as many parts as still let the device
    // hold all clusters at a time.
    constexpr std::int64_t kMaxParts = 8;
    const std::int64_t blocks = ceil_div(p.n, kFewColumns), steps = ceil_div(p.k, kFewStep);
    const auto with = [&](std::int64_t parts) {
        Launch how;
        how.grid = {static_cast<std::uint32_t>(blocks), static_cast<std::uint32_t>(parts),
                    static_cast<std::uint32_t>(p.batch)};
        how.cluster = {1, static_cast<std::uint32_t>(parts), 1};
        how.block = {kFewThreads};
        how.shared_bytes =
            static_cast<std::uint32_t>(kFewThreads / 32 * 4 * kFewColumns * kFewRows * ceil_div(p.m, kFewRows));
        how.overlaps_previous = true;
        return how;
    };
    std::int64_t parts = std::clamp<std::int64_t>(gpu.multiprocessors() / (blocks * p.batch), 1,
                                                  std::min(kMaxParts, std::max<std::int64_t>(1, steps)));
    while (parts > 1 && clusters(gpu, kernel, with(parts)) < blocks * p.batch) --parts;
    launch(gpu, kernel, with(parts), arguments);
}

}  // namespace

Unit unit_of(const TiledProduct& p) {
    if (is_few_rows(p)) return unit_of_few_rows(p);
    const Form form = form_of(p);
    const DType product = product_type(p);
    Unit u = unit("cuda/tiled_product.cu",
                  {text("-DCOLUMNS=", form.columns), text("-DSTAGES=", form.stages), text("-DCLUSTER=", form.cluster)});
    u.text = text(print_epilogue(p), "constexpr int kProductSize = ", size(product), ", kOutSize = ", size(p.out),
                  ", kMostLoads = ",
                  inputs_of(p) == 0   ? 8
                  : inputs_of(p) == 1 ? 4
                                      : 2,
                  ";\n", print_wgmma(static_cast<int>(form.columns), p.a_type, p.b_type), print_store(product), u.text);
    return u;
}

void run(Gpu& gpu, const TiledProduct& p) {
    if (const std::string why = declines(gpu, p); !why.empty()) throw ValueError("cuda: a tiled product: " + why);
    if (p.m == 0 || p.n == 0 || p.batch == 0) return;
    const Gpu::Scope scope(gpu);
    std::string tape;
    if (p.tape) tape = words_of(*p.tape);
    for (std::size_t i = 0; i < inputs_of(p); ++i) tape += p.inputs[i].column ? 'c' : 'r';
    if (is_few_rows(p)) return run_few_rows(gpu, p, tape);
    const Form form = form_of(p);
    const std::string key = text("tiled product ", static_cast<int>(p.a_type), " ", static_cast<int>(p.b_type), " ",
                                 static_cast<int>(p.out), " ", form.columns, " ", form.cluster, " ", tape);
    const Kernel& kernel = gpu.printed(
        key, [&] { return unit_of(p); }, "tiled_product");
    const std::int64_t stage = (kLines + form.columns) * kLine, per_line = kLine / size(p.a_type);
    Arguments arguments{static_cast<std::int32_t>(p.m),
                        static_cast<std::int32_t>(p.n),
                        static_cast<std::int32_t>(ceil_div(p.k, per_line)),
                        static_cast<std::int32_t>(ceil_div(p.m, kLines * form.cluster)),
                        static_cast<std::int32_t>(ceil_div(p.n, form.columns)),
                        static_cast<std::int32_t>(p.batch),
                        p.a_batch != 0,
                        p.b_batch != 0,
                        static_cast<std::int32_t>(per_line),
                        p.c,
                        p.c_row,
                        p.c_batch,
                        {}};
    for (std::size_t i = 0; i < inputs_of(p); ++i)
        arguments.inputs[i] = {p.inputs[i].data, p.inputs[i].row, p.inputs[i].batch};
    const std::int64_t tiles = std::int64_t{arguments.tiles_m} * arguments.tiles_n * p.batch;
    Launch how;
    how.grid = {
        static_cast<std::uint32_t>(std::min<std::int64_t>(gpu.multiprocessors() / form.cluster, tiles) * form.cluster)};
    how.cluster = {static_cast<std::uint32_t>(form.cluster)};
    how.block = {kThreads};
    how.shared_bytes = static_cast<std::uint32_t>(1024 + form.stages * (stage + 16) + kStaging);
    how.overlaps_previous = true;
    launch(gpu, kernel, how, lines_of(p.a, p.a_type, p.m, p.k, p.a_row, p.batch, p.a_batch, kLines),
           lines_of(p.b, p.b_type, p.n, p.k, p.b_row, p.batch, p.b_batch, form.columns / form.cluster), arguments);
}

}  // namespace tenon::cuda
