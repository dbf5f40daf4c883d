// Intel MKL through libmkl_rt: BLAS, its batched and packed products, and its generated kernels for small ones.
#include <cstdlib>
#include <filesystem>

#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"

namespace bench {
namespace {

using cblas::kRowMajor;

constexpr int kRightOperand = 162, kPacked = 151, kOneOffset = 173, kIntelThreads = 0, kGnuThreads = 3;

struct Mkl {
    Library library;
    int threads = 1;

    template <class Function>
    Function* find(const std::string& name) const {
        return library.find<Function>(name);
    }
    void use_threads(int n) const { find<void(int)>("MKL_Set_Num_Threads")(n); }
};

using PackSize = std::size_t(int identifier, int m, int n, int k);

/// Memory of a packed right operand.
std::shared_ptr<Buffer> packed_buffer(const Mkl& mkl, const std::string& name, const cblas::Arguments& g) {
    auto* size = mkl.find<PackSize>(name + "_pack_get_size");
    return std::make_shared<Buffer>(static_cast<std::int64_t>(size(kRightOperand, g.m, g.n, g.k)));
}

template <class T>
Prepared prepare_packed(const Mkl& mkl, const cblas::Arguments& g, const Operands& operands) {
    using Pack = void(int order, int identifier, int trans, int m, int n, int k, T alpha, const T* b, int ldb, T* to);
    using Compute = void(int order, int transa, int transb, int m, int n, int k, const T* a, int lda, const T* b,
                         int ldb, T beta, T* c, int ldc);
    const std::string name = std::string("cblas_") + cblas::kLetter<T> + "gemm";
    const auto packed = packed_buffer(mkl, name, g);
    T* b = static_cast<T*>(packed->data());
    mkl.find<Pack>(name + "_pack")(kRowMajor, kRightOperand, g.transb, g.m, g.n, g.k, 1, operands.b_as<T>(), g.ldb, b);
    auto* compute = mkl.find<Compute>(name + "_compute");
    const T* a = operands.a_as<T>();
    T* c = operands.c_as<T>();
    return call_all([=] {
        static_cast<void>(packed);
        compute(kRowMajor, g.transa, kPacked, g.m, g.n, g.k, a, g.lda, b, g.ldb, 0, c, g.ldc);
    });
}

/// A kernel generated for one product.
template <class T>
Prepared prepare_generated(const Mkl& mkl, const cblas::Arguments& g, const Operands& operands) {
    using Create = int(void** jitter, int order, int transa, int transb, int m, int n, int k, T alpha, int lda, int ldb,
                       T beta, int ldc);
    using Kernel = void(void* jitter, const T* a, const T* b, T* c);
    const std::string letter = cblas::kLetter<T>;
    auto* create = mkl.find<Create>("mkl_cblas_jit_create_" + letter + "gemm");
    auto* kernel_of = mkl.find<Kernel*(const void*)>("mkl_jit_get_" + letter + "gemm_ptr");
    void* jitter = nullptr;
    if (!create || create(&jitter, kRowMajor, g.transa, g.transb, g.m, g.n, g.k, 1, g.lda, g.ldb, 0, g.ldc) > 1)
        throw Unsupported("mkl_jit_create_gemm failed");
    const std::shared_ptr<void> owner(jitter,
                                      [destroy = mkl.find<int(void*)>("mkl_jit_destroy")](void* p) { destroy(p); });
    Kernel* kernel = kernel_of(jitter);
    const T *a = operands.a_as<T>(), *b = operands.b_as<T>();
    T* c = operands.c_as<T>();
    return {[=](std::int64_t calls) {
                void* const own = owner.get();
                for (std::int64_t i = 0; i < calls; ++i) kernel(own, a, b, c);
            },
            {}};
}

template <class T>
Prepared prepare_floats(const Mkl& mkl, const Problem& problem, const Operands& operands) {
    const cblas::Arguments g(problem);
    if (problem.weights.packed) return prepare_packed<T>(mkl, g, operands);
    if (problem.repeated) return prepare_generated<T>(mkl, g, operands);
    const std::string name = std::string("cblas_") + cblas::kLetter<T>;
    return cblas::prepare<T>({mkl.find<cblas::Gemm<T>>(name + "gemm"), mkl.find<cblas::Gemv<T>>(name + "gemv"),
                              mkl.find<cblas::GemmBatchStrided<T>>(name + "gemm_batch_strided")},
                             problem, operands, [&mkl] { mkl.use_threads(1); });
}

Prepared prepare_bf16(const Mkl& mkl, const Problem& problem, const Operands& operands) {
    using Element = std::uint16_t;
    using Multiply = void(int order, int transa, int transb, int m, int n, int k, float alpha, const Element* a,
                          int lda, const Element* b, int ldb, float beta, float* c, int ldc);
    using Pack =
        void(int order, int identifier, int trans, int m, int n, int k, const Element* b, int ldb, Element* to);
    cblas::Arguments g(problem);
    const std::string name = "cblas_gemm_bf16bf16f32";
    auto* multiply = mkl.find<Multiply>(problem.weights.packed ? name + "_compute" : name);
    const Element *a = operands.a_as<Element>(), *b = operands.b_as<Element>();
    float* c = operands.c_as<float>();
    std::shared_ptr<Buffer> packed;
    if (problem.weights.packed) {
        packed = packed_buffer(mkl, name, g);
        auto* to = static_cast<Element*>(packed->data());
        mkl.find<Pack>(name + "_pack")(kRowMajor, kRightOperand, g.transb, g.m, g.n, g.k, b, g.ldb, to);
        b = to, g.transb = kPacked;
    }
    return call_each(problem, [=](std::int64_t i) {
        static_cast<void>(packed);
        multiply(kRowMajor, g.transa, g.transb, g.m, g.n, g.k, 1, a + i * g.step_a, g.lda, b + i * g.step_b, g.ldb, 0,
                 c + i * g.step_c, g.ldc);
    });
}

/// For rows one after the other the left operand is uint8 and the right one int8, whatever the name says.
Prepared prepare_u8s8(const Mkl& mkl, const Problem& problem, const Operands& operands) {
    using Multiply = void(int order, int transa, int transb, int offset, int m, int n, int k, float alpha,
                          const void* a, int lda, std::int8_t oa, const void* b, int ldb, std::int8_t ob, float beta,
                          std::int32_t* c, int ldc, const std::int32_t* oc);
    using Pack = void(int order, int identifier, int trans, int m, int n, int k, const void* b, int ldb, void* to);
    static constexpr std::int32_t kNoOffset = 0;
    cblas::Arguments g(problem);
    const std::string name = "cblas_gemm_s8u8s32";
    auto* multiply = mkl.find<Multiply>(problem.weights.packed ? name + "_compute" : name);
    const auto *a = operands.a_as<std::uint8_t>(), *b = operands.b_as<std::uint8_t>();
    auto* c = operands.c_as<std::int32_t>();
    std::shared_ptr<Buffer> packed;
    if (problem.weights.packed) {
        packed = packed_buffer(mkl, name, g);
        mkl.find<Pack>(name + "_pack")(kRowMajor, kRightOperand, g.transb, g.m, g.n, g.k, b, g.ldb, packed->data());
        b = static_cast<const std::uint8_t*>(packed->data()), g.transb = kPacked;
    }
    return call_each(problem, [=](std::int64_t i) {
        static_cast<void>(packed);
        multiply(kRowMajor, g.transa, g.transb, kOneOffset, g.m, g.n, g.k, 1, a + i * g.m * g.k, g.lda, 0,
                 b + i * g.k * g.n, g.ldb, 0, 0, c + i * g.m * g.n, g.ldc, &kNoOffset);
    });
}

Prepared prepare(const Mkl& mkl, const Problem& problem, const Operands& operands) {
    mkl.use_threads(mkl.threads);
    if (problem.type == Type::f32) return prepare_floats<float>(mkl, problem, operands);
    if (problem.type == Type::f64) return prepare_floats<double>(mkl, problem, operands);
    if (problem.shape.batch > 1) mkl.use_threads(1);
    return problem.type == Type::bf16 ? prepare_bf16(mkl, problem, operands) : prepare_u8s8(mkl, problem, operands);
}

std::string version_of(const Library& library) {
    struct Version {
        int major, minor, update;
        const char *status, *build, *processor, *platform;
    } version{};
    library.find<void(Version*)>("MKL_Get_Version")(&version);
    return std::to_string(version.major) + '.' + std::to_string(version.minor) + '.' + std::to_string(version.update) +
           (version.processor ? std::string(" (") + version.processor + ')' : "");
}

}  // namespace

Loaded load_mkl() {
    for (const std::string& path :
         find_libraries({"libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so.1", "libmkl_rt.so"})) {
        // Its layers, found by name, stand beside it.
        const auto folder = std::filesystem::path(path).parent_path();
        const bool intel = Library::load(folder / "libiomp5.so").has_value();
        const auto library = Library::load(path);
        if (!library || !library->find<void()>("cblas_sgemm")) continue;
        if (auto* layer = library->find<int(int)>("MKL_Set_Threading_Layer"))
            layer(intel ? kIntelThreads : kGnuThreads);
        auto mkl = std::make_shared<Mkl>(Mkl{*library});
        return {
            Peer{"mkl", version_of(*library),
                 [](const Problem& problem) {
                     return problem.narrow && problem.type == Type::bf16 ? "gives float32" : std::string();
                 },
                 [mkl](const Problem& problem, const Operands& operands) { return prepare(*mkl, problem, operands); },
                 [mkl](int threads) {
                     mkl->threads = threads;
                     mkl->use_threads(threads);
                 },
                 [mkl](const std::string& name) { return reinterpret_cast<void*>(mkl->find<void()>(name)); }},
            ""};
    }
    return {std::nullopt, "mkl: not found (mkl from PyPI)"};
}

}  // namespace bench
