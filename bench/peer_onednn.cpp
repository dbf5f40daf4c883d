// oneDNN: the newest build with OpenMP that is found, and the newest with SYCL, as its makers publish it now.
#include <array>
#include <cstdlib>
#include <filesystem>

#include "bench/calls.h"
#include "bench/library.h"
#include "bench/linear.h"
#include "bench/onednn.h"
#include "bench/peer.h"

namespace bench {
namespace {

using onednn::Api;
using onednn::Memory;

onednn::DataType data_type(tenon::DType dtype) {
    switch (dtype) {
        case tenon::DType::bfloat16:
            return onednn::kBf16;
        case tenon::DType::int32:
            return onednn::kS32;
        case tenon::DType::int8:
            return onednn::kS8;
        case tenon::DType::uint8:
            return onednn::kU8;
        case tenon::DType::float64:
            return onednn::kF64;
        default:
            return onednn::kF32;
    }
}

/// The memories of a product, destroyed with it.
struct Product {
    std::shared_ptr<const Api> api;
    onednn::Primitive primitive = nullptr;
    Memory a = nullptr, b = nullptr, c = nullptr;

    ~Product() {
        for (const Memory memory : {a, b, c})
            if (memory) api->destroy(memory);
    }
};

Prepared prepare(const std::shared_ptr<const Api>& api, const Problem& problem, const Operands& operands) {
    const std::int64_t m = problem.shape.m, n = problem.shape.n, k = problem.shape.k;
    const TypeTraits& t = traits(problem.type);
    const auto matrices = [&](std::int64_t rows, std::int64_t columns, std::int64_t step = 1) {
        std::vector<std::int64_t> extents = {rows, columns};
        // One for all is another tensor here, not steps of zero.
        if (problem.shape.batch != 1) extents.insert(extents.begin(), step == 0 ? 1 : problem.shape.batch);
        return extents;
    };
    const auto descriptor = [&](std::int64_t rows, std::int64_t columns, tenon::DType dtype, bool transposed,
                                std::int64_t ld, std::int64_t step) {
        std::vector<std::int64_t> strides = {transposed ? 1 : ld, transposed ? ld : 1};
        if (problem.shape.batch != 1) strides.insert(strides.begin(), step == 0 ? rows * columns : step);
        return api->descriptor(matrices(rows, columns, step), data_type(dtype), strides);
    };
    const auto a = descriptor(m, k, t.a, problem.a_transposed, problem.lda(), problem.step_a()),
               c = descriptor(m, n, problem.narrow ? t.a : t.c, false, problem.ldc(), problem.step_c());
    const auto b = descriptor(k, n, t.b, problem.weights.transposed, problem.ldb(), problem.step_b());
    const Api::Matmul matmul =
        api->matmul(a, problem.weights.packed ? api->descriptor(matrices(k, n), data_type(t.b)) : b, c);
    auto product = std::make_shared<Product>();
    product->api = api, product->primitive = matmul.primitive;
    product->a = api->memory(a, operands.a.data()), product->c = api->memory(c, operands.c.data());
    product->b = api->memory(b, operands.b.data());
    if (problem.weights.packed) {
        const Memory plain = product->b;
        product->b = api->memory(matmul.weights, nullptr);
        api->reorder(b, plain, matmul.weights, product->b);
        api->destroy(plain);
    }
    return {
        [product](std::int64_t calls) {
            const std::array<onednn::Argument, 3> arguments = {
                {{onednn::kSource, product->a}, {onednn::kWeights, product->b}, {onednn::kDestination, product->c}}};
            for (std::int64_t i = 0; i < calls; ++i) product->api->execute(product->primitive, 3, arguments.data());
            product->api->wait();
        },
        {}};
}

/// oneTBB's tbb::global_control, which bounds the threads of the whole process while it exists.
struct GlobalControl {
    std::size_t value = 0;
    std::intptr_t reserved = 0;
    int parameter = 0;
};

/// The memories of a linear layer, and what only they point to.
struct LinearProduct {
    std::shared_ptr<const Api> api;
    onednn::Primitive primitive = nullptr;
    std::vector<float> bias, scales;
    float scale_x = kScaleX, scale_y = kScaleY;
    std::int32_t zero_x = kZeroX, zero_y = kZeroY;
    std::vector<onednn::Argument> arguments;

    ~LinearProduct() {
        for (const onednn::Argument& argument : arguments)
            if (argument.memory) api->destroy(argument.memory);
    }
    void add(int index, onednn::Descriptor descriptor, void* data) {
        arguments.push_back({index, api->memory(descriptor, data)});
    }
};

onednn::Eltwise eltwise_of(LinearKind::Act act) {
    using Act = LinearKind::Act;
    return act == Act::none        ? onednn::kNoEltwise
           : act == Act::relu      ? onednn::kRelu
           : act == Act::gelu      ? onednn::kGeluErf
           : act == Act::gelu_tanh ? onednn::kGeluTanh
                                   : onednn::kSwish;
}

/// The bias, the activation and the residual as the library's own; scales and zero points as its attributes.
Prepared prepare_linear(const std::shared_ptr<const Api>& api, const Problem& problem, const Operands& operands) {
    const std::int64_t m = problem.shape.m, n = problem.shape.n, k = problem.shape.k;
    const TypeTraits& t = traits(problem.type);
    const bool quantized = problem.type == Type::u8s8;
    const auto rows = [&](std::int64_t count, std::int64_t columns, tenon::DType dtype) {
        return api->descriptor({count, columns}, data_type(dtype), {columns, 1});
    };
    const auto vector = [&](std::int64_t count, onednn::DataType type) { return api->descriptor({count}, type, {1}); };
    const auto x = rows(m, k, t.a), w = rows(k, n, t.b), y = rows(m, n, problem.c_dtype()),
               bias = rows(1, n, quantized ? tenon::DType::float32 : t.b), residual = rows(m, n, t.b);
    onednn::Attributes attributes{eltwise_of(problem.linear->act), quantized ? nullptr : residual, {}, {}};
    if (quantized) {
        attributes.scales = {{onednn::kSource, 0}, {onednn::kWeights, 2}, {onednn::kDestination, 0}};
        attributes.zero_points = {{onednn::kSource, 0}, {onednn::kDestination, 0}};
    }
    const Api::Matmul matmul =
        api->matmul(x, problem.weights.packed ? api->descriptor({k, n}, data_type(t.b)) : w, bias, y, attributes);
    auto product = std::make_shared<LinearProduct>();
    product->api = api, product->primitive = matmul.primitive;
    product->add(onednn::kSource, x, operands.a.data()), product->add(onednn::kDestination, y, operands.c.data());
    auto* after = static_cast<std::byte*>(operands.b.data()) + k * n * static_cast<std::int64_t>(tenon::size_of(t.b));
    if (quantized) {
        for (std::int64_t j = 0; j < n; ++j) {
            product->bias.push_back(linear_bias(j));
            product->scales.push_back(linear_scale(problem, j));
        }
        product->add(onednn::kBias, bias, product->bias.data());
        const auto one = vector(1, onednn::kF32), zero = vector(1, onednn::kS32);
        product->add(onednn::kScales | onednn::kSource, one, &product->scale_x);
        product->add(onednn::kScales | onednn::kWeights, vector(n, onednn::kF32), product->scales.data());
        product->add(onednn::kScales | onednn::kDestination, one, &product->scale_y);
        product->add(onednn::kZeroPoints | onednn::kSource, zero, &product->zero_x);
        product->add(onednn::kZeroPoints | onednn::kDestination, zero, &product->zero_y);
    } else {
        product->add(onednn::kBias, bias, after);
        product->add(onednn::kPostOperation * attributes.operations() | onednn::kSource1, residual,
                     after + n * static_cast<std::int64_t>(tenon::size_of(t.b)));
    }
    if (problem.weights.packed) {
        product->add(onednn::kWeights, matmul.weights, nullptr);
        const Memory plain = api->memory(w, operands.b.data());
        api->reorder(w, plain, matmul.weights, product->arguments.back().memory);
        api->destroy(plain);
    } else {
        product->add(onednn::kWeights, w, operands.b.data());
    }
    return {[product](std::int64_t calls) {
                const auto count = static_cast<int>(product->arguments.size());
                for (std::int64_t i = 0; i < calls; ++i)
                    product->api->execute(product->primitive, count, product->arguments.data());
                product->api->wait();
            },
            {}};
}

std::function<void(int)> thread_setter(const Library& library, unsigned runtime) {
    if (runtime != onednn::kSycl) {
        auto* set = library.find<void(int)>("omp_set_num_threads");
        return [set](int threads) {
            if (set) set(threads);
        };
    }
    auto* create = library.find<void(GlobalControl&)>("_ZN3tbb6detail2r16createERNS0_2d114global_controlE");
    auto* destroy = library.find<void(GlobalControl&)>("_ZN3tbb6detail2r17destroyERNS0_2d114global_controlE");
    auto control = std::make_shared<GlobalControl>();
    return [=](int threads) {
        if (!create || !destroy) return;
        if (control->value != 0) destroy(*control);
        control->value = static_cast<std::size_t>(threads);
        create(*control);
    };
}

std::string version_text(const onednn::Version& v) {
    return std::to_string(v.major) + '.' + std::to_string(v.minor) + '.' + std::to_string(v.patch);
}

std::string supports(const Problem& problem) {
    return problem.type == Type::f64 ? "has no float64 product on the CPU" : "";
}

Peer peer_of(const char* name, const Library& library, const onednn::Version& version) {
    const auto api = std::make_shared<const Api>(library);
    Peer peer{name, version_text(version), supports,
              [api](const Problem& problem, const Operands& operands) {
                  return problem.linear ? prepare_linear(api, problem, operands) : prepare(api, problem, operands);
              },
              thread_setter(library, version.cpu_runtime)};
    peer.takes_linear = true;
    return peer;
}

/// The SYCL build and what it needs stand in one folder that the loader does not look in; and the OpenCL loader is to
/// find the CPU's driver there.
void load_neighbours(const std::string& path) {
    const auto folder = std::filesystem::path(path).parent_path();
    if (std::filesystem::exists(folder / "libintelocl.so"))
        setenv("OCL_ICD_FILENAMES", (folder / "libintelocl.so").c_str(), 0);
    for (const char* name : {"libintlc.so.5", "libirng.so", "libsvml.so", "libimf.so", "libtbb.so.12", "libhwloc.so.15",
                             "libumf.so.1", "libur_loader.so.0", "libOpenCL.so.1", "libsycl.so.9", "libsycl.so.8"})
        if (std::filesystem::exists(folder / name)) static_cast<void>(Library::load(folder / name));
}

Loaded newest(const char* name, unsigned runtime, const char* packages) {
    std::optional<Library> best;
    onednn::Version best_version{};
    for (const std::string& path : find_libraries({"libdnnl.so.3", "libdnnl.so.2", "paddle/libs/libdnnl.so.3"})) {
        load_neighbours(path);
        const auto library = Library::load(path);
        const auto version = library ? onednn::version_of(*library) : std::nullopt;
        if (!version || version->cpu_runtime != runtime) continue;
        const auto rank = [](const onednn::Version& v) { return std::array<int, 3>{v.major, v.minor, v.patch}; };
        if (!best || rank(*version) > rank(best_version)) best = library, best_version = *version;
    }
    std::string why = "not found";
    if (best) try {
            return {peer_of(name, *best, best_version), ""};
        } catch (const Unsupported& error) {
            why = error.what();
        }
    return {std::nullopt, std::string(name) + ": " + why + " (" + packages + ")"};
}

}  // namespace

Loaded load_onednn() {
    return newest("onednn", onednn::kOpenMp,
                  "libdnnl.so.3 of paddlepaddle or onednn-cpu-gomp from PyPI, or Debian's libdnnl2");
}

Loaded load_onednn_sycl() { return newest("onednn-sycl", onednn::kSycl, "onednn from PyPI"); }

}  // namespace bench
