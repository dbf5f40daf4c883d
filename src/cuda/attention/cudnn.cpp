#include "cuda/attention/cudnn.h"

#include <dlfcn.h>

#include <cstring>
#include <mutex>

#include "base/text.h"
#include "cuda/driver.h"
#include "tenon/error.h"

namespace tenon::cuda::cudnn {
namespace {

using Handle = struct HandleTag*;

// cudnnBackendDescriptorType_t.
enum : int {
    kPointwise = 0,
    kEngineConfiguration = 3,
    kHeuristics = 4,
    kPlan = 5,
    kPointwiseOperation = 13,
    kOperationGraph = 15,
    kVariantPack = 16,
    kTensor = 17,
    kProduct = 18,
    kProductOperation = 19,
    kReduction = 21,
    kReductionOperation = 22,
    kReshapeOperation = 31,
    kEngine = 2,
};
// cudnnBackendAttributeType_t.
enum : int {
    kOfHandle = 0,
    kOfType = 1,
    kOfBoolean = 2,
    kOfInt64 = 3,
    kOfDouble = 5,
    kOfPointer = 6,
    kOfHeuristic = 8,
    kOfNote = 11,
    kOfPointwise = 14,
    kOfDescriptor = 15,
    kOfReduction = 18,
};
// cudnnBackendAttributeName_t.
enum : int {
    kPointwiseMode = 0,
    kPointwiseType = 1,
    kPointwiseAxis = 9,
    kHeuristicMode = 200,
    kHeuristicGraph = 201,
    kHeuristicResults = 202,
    kConfigurationEngine = 300,
    kPlanConfiguration = 401,
    kPlanWorkspace = 402,
    kPointwiseDescription = 750,
    kPointwiseX = 751,
    kPointwiseB = 752,
    kPointwiseY = 753,
    kPointwiseT = 758,
    kGraphHandle = 800,
    kGraphOperations = 801,
    kTensorAlignment = 900,
    kTensorType = 901,
    kTensorExtents = 902,
    kTensorStrides = 903,
    kTensorNumber = 906,
    kTensorPasses = 907,
    kTensorByValue = 908,
    kPackNumbers = 1000,
    kPackPointers = 1001,
    kPackWorkspace = 1003,
    kEngineNotes = 1303,
    kProductType = 1500,
    kProductPadding = 1503,
    kProductA = 1520,
    kProductB = 1521,
    kProductC = 1522,
    kProductDescription = 1523,
    kProductRows = 1525,
    kProductColumns = 1526,
    kProductSummed = 1527,
    kReductionOperator = 1600,
    kReductionType = 1601,
    kReductionX = 1610,
    kReductionY = 1611,
    kReductionDescription = 1612,
    kReshapeX = 2200,
    kReshapeY = 2201,
};
constexpr int kModeA = 3;  // cudnnBackendHeurMode_t
constexpr int kVariesFromRunToRun = 4;  // cudnnBackendNumericalNote_t

#define TENON_CUDNN_FUNCTIONS(X)                                                                      \
    X(create, cudnnCreate, int, (Handle*))                                                            \
    X(set_stream, cudnnSetStream, int, (Handle, StreamHandle))                                        \
    X(error_text, cudnnGetErrorString, const char*, (int))                                            \
    X(last_error, cudnnGetLastErrorString, void, (char*, std::size_t))                                \
    X(make, cudnnBackendCreateDescriptor, int, (int, Descriptor*))                                    \
    X(destroy, cudnnBackendDestroyDescriptor, int, (Descriptor))                                      \
    X(finalize, cudnnBackendFinalize, int, (Descriptor))                                              \
    X(set, cudnnBackendSetAttribute, int, (Descriptor, int, int, std::int64_t, const void*))          \
    X(get, cudnnBackendGetAttribute, int, (Descriptor, int, int, std::int64_t, std::int64_t*, void*)) \
    X(execute, cudnnBackendExecute, int, (Handle, Descriptor, Descriptor))

struct Functions {
#define TENON_DECLARE(member, symbol, result, parameters) result(*member) parameters = nullptr;
    TENON_CUDNN_FUNCTIONS(TENON_DECLARE)
#undef TENON_DECLARE
    std::string absent;
};

std::string load(Functions& f) {
    constexpr const char* kNames[] = {"libcudnn.so.9"};
    std::string tried;
    if (const std::string& none = driver_absent(); !none.empty()) return none;
    if (const std::string& none = compiler_absent(); !none.empty()) return none;  // cuDNN compiles with NVRTC, too.
    void* library = open_library("TENON_CUDNN", kNames, std::size(kNames), tried);
    if (!library) return text("no cuDNN: ", tried);
#define TENON_BIND(member, symbol, result, parameters)                          \
    f.member = reinterpret_cast<result(*) parameters>(dlsym(library, #symbol)); \
    if (!f.member) return "cuDNN is too old (it has no " #symbol ")";
    TENON_CUDNN_FUNCTIONS(TENON_BIND)
#undef TENON_BIND
    return {};
}

Functions& functions() {
    static Functions& once = *[] {
        auto* f = new Functions;
        f->absent = load(*f);
        return f;
    }();
    return once;
}

void expect(int status, const char* what) {
    if (status == 0) return;
    char words[512] = "";
    functions().last_error(words, sizeof words);
    throw ValueError(text("cuDNN: ", what, ": ", functions().error_text(status), *words ? ", " : "", words));
}

Handle handle_of(Gpu& gpu) {
    static auto& mutex = *new std::mutex;
    static auto& all = *new std::map<int, Handle>;
    const std::lock_guard lock(mutex);
    Handle& h = all[gpu.index()];
    if (!h) {
        const Gpu::Scope scope(gpu);
        expect(functions().create(&h), "cudnnCreate");
    }
    return h;
}

void set(Descriptor d, int attribute, int type, std::int64_t n, const void* values, const char* what) {
    expect(functions().set(d, attribute, type, n, values), what);
}
void set(Descriptor d, int attribute, const Tensor& t) {
    set(d, attribute, kOfDescriptor, 1, &t.descriptor, "an operand");
}
void set(Descriptor d, int attribute, Type t) {
    const int value = static_cast<int>(t);
    set(d, attribute, kOfType, 1, &value, "a type");
}

Extents4 row_major(const Extents4& e) { return {e[1] * e[2] * e[3], e[2] * e[3], e[3], 1}; }

}  // namespace

const std::string& absent() { return functions().absent; }

Graph::Graph() {
    if (!absent().empty()) throw ValueError(text("cuda: ", absent()));
}

Graph::~Graph() {
    for (std::size_t i = all_.size(); i-- > 0;) functions().destroy(all_[i]);
}

Descriptor Graph::make(int kind) {
    Descriptor d = nullptr;
    expect(functions().make(kind, &d), "a descriptor");
    all_.push_back(d);
    return d;
}

void Graph::add(Descriptor operation) {
    expect(functions().finalize(operation), "an operation");
    operations_.push_back(operation);
}

Tensor Graph::tensor(std::int64_t number, Type type, const Extents4& extents, const Extents4& strides, bool passes,
                     bool by_value) {
    const Tensor t{make(kTensor), extents, strides};
    constexpr std::int64_t kAlignment = 16;
    set(t.descriptor, kTensorType, type);
    set(t.descriptor, kTensorExtents, kOfInt64, 4, extents.data(), "a tensor's extents");
    set(t.descriptor, kTensorStrides, kOfInt64, 4, strides.data(), "a tensor's strides");
    set(t.descriptor, kTensorNumber, kOfInt64, 1, &number, "a tensor's number");
    set(t.descriptor, kTensorAlignment, kOfInt64, 1, &kAlignment, "a tensor's alignment");
    set(t.descriptor, kTensorPasses, kOfBoolean, 1, &passes, "a tensor without memory");
    set(t.descriptor, kTensorByValue, kOfBoolean, 1, &by_value, "a number");
    expect(functions().finalize(t.descriptor), "a tensor");
    return t;
}

Tensor Graph::memory(std::int64_t number, Type type, const Extents4& extents, const Extents4& strides) {
    return tensor(number, type, extents, strides, false, false);
}
Tensor Graph::between(Type type, const Extents4& extents) { return between(type, extents, row_major(extents)); }
Tensor Graph::between(Type type, const Extents4& extents, const Extents4& strides) {
    return tensor(next_++, type, extents, strides, true, false);
}
Tensor Graph::number(float value) {
    std::memcpy(numbers_[next_].data(), &value, sizeof value);
    return tensor(next_++, Type::float32, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
}
Tensor Graph::number(std::int32_t value) {
    std::memcpy(numbers_[next_].data(), &value, sizeof value);
    return tensor(next_++, Type::int32, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
}

void Graph::pointwise(Pointwise mode, const Tensor& x, const Tensor* b, const Tensor* t, const Tensor& y, Type compute,
                      int axis) {
    const Descriptor how = make(kPointwise);
    const int value = static_cast<int>(mode);
    set(how, kPointwiseMode, kOfPointwise, 1, &value, "a pointwise mode");
    set(how, kPointwiseType, compute);
    if (axis >= 0) {
        const std::int64_t at = axis;
        set(how, kPointwiseAxis, kOfInt64, 1, &at, "a pointwise axis");
    }
    expect(functions().finalize(how), "a pointwise operation");
    const Descriptor d = make(kPointwiseOperation);
    set(d, kPointwiseDescription, kOfDescriptor, 1, &how, "a pointwise operation");
    set(d, kPointwiseX, x);
    if (b) set(d, kPointwiseB, *b);
    if (t) set(d, kPointwiseT, *t);
    set(d, kPointwiseY, y);
    add(d);
}
Tensor Graph::pointwise(Pointwise mode, const Tensor& x, const Tensor& b) {
    const Tensor y = between(Type::float32, x.extents);
    pointwise(mode, x, &b, nullptr, y);
    return y;
}
Tensor Graph::pointwise(Pointwise mode, const Tensor& x) {
    const Tensor y = between(Type::float32, x.extents);
    pointwise(mode, x, nullptr, nullptr, y);
    return y;
}

void Graph::product(const Tensor& a, const Tensor& b, const Tensor& c, const Lengths& lengths) {
    const Descriptor how = make(kProduct);
    set(how, kProductType, Type::float32);
    if (lengths.pads) {
        const double zero = 0;
        set(how, kProductPadding, kOfDouble, 1, &zero, "a product's padding");
    }
    expect(functions().finalize(how), "a product");
    const Descriptor d = make(kProductOperation);
    set(d, kProductA, a);
    set(d, kProductB, b);
    set(d, kProductC, c);
    set(d, kProductDescription, kOfDescriptor, 1, &how, "a product");
    if (lengths.rows) set(d, kProductRows, *lengths.rows);
    if (lengths.columns) set(d, kProductColumns, *lengths.columns);
    if (lengths.summed) set(d, kProductSummed, *lengths.summed);
    add(d);
}

void Graph::reduce(Reduce op, const Tensor& x, const Tensor& y) {
    const Descriptor how = make(kReduction);
    const int value = static_cast<int>(op);
    set(how, kReductionOperator, kOfReduction, 1, &value, "a reduction");
    set(how, kReductionType, Type::float32);
    expect(functions().finalize(how), "a reduction");
    const Descriptor d = make(kReductionOperation);
    set(d, kReductionX, x);
    set(d, kReductionY, y);
    set(d, kReductionDescription, kOfDescriptor, 1, &how, "a reduction");
    add(d);
}

void Graph::reshape(const Tensor& x, const Tensor& y) {
    const Descriptor d = make(kReshapeOperation);
    set(d, kReshapeX, x);
    set(d, kReshapeY, y);
    add(d);
}

std::unique_ptr<Plan> Graph::plan(Gpu& gpu) {
    const Functions& f = functions();
    const Handle handle = handle_of(gpu);
    const Gpu::Scope scope(gpu);
    const Descriptor graph = make(kOperationGraph);
    set(graph, kGraphOperations, kOfDescriptor, static_cast<std::int64_t>(operations_.size()), operations_.data(),
        "a graph's operations");
    set(graph, kGraphHandle, kOfHandle, 1, &handle, "a graph's handle");
    expect(f.finalize(graph), "a graph");
    const Descriptor heuristics = make(kHeuristics);
    set(heuristics, kHeuristicGraph, kOfDescriptor, 1, &graph, "a choice of engines");
    set(heuristics, kHeuristicMode, kOfHeuristic, 1, &kModeA, "a choice of engines");
    expect(f.finalize(heuristics), "a choice of engines");
    std::int64_t n = 0;
    expect(f.get(heuristics, kHeuristicResults, kOfDescriptor, 0, &n, nullptr), "a choice of engines");
    if (n == 0) throw ValueError("cuDNN: no engine for a graph");
    std::vector<Descriptor> found;
    for (std::int64_t i = 0; i < n; ++i) found.push_back(make(kEngineConfiguration));
    expect(f.get(heuristics, kHeuristicResults, kOfDescriptor, n, &n, found.data()), "a choice of engines");
    std::unique_ptr<Plan> p(new Plan);
    int status = 0;
    for (std::int64_t i = 0; i < n && !p->plan_; ++i) {
        const Descriptor plan = make(kPlan);
        set(plan, kPlanConfiguration, kOfDescriptor, 1, &found[static_cast<std::size_t>(i)], "a plan");
        status = f.finalize(plan);
        if (status != 0) continue;
        p->plan_ = plan;
        Descriptor engine = make(kEngine);
        std::int64_t notes = 0;
        int list[16]{};
        if (f.get(found[static_cast<std::size_t>(i)], kConfigurationEngine, kOfDescriptor, 1, &notes, &engine) == 0 &&
            f.get(engine, kEngineNotes, kOfNote, std::size(list), &notes, list) == 0)
            for (std::int64_t k = 0; k < notes; ++k) p->same_bits_ &= list[k] != kVariesFromRunToRun;
    }
    if (!p->plan_) expect(status, "a plan");
    expect(f.get(p->plan_, kPlanWorkspace, kOfInt64, 1, &n, &p->workspace_), "a plan's workspace");
    p->numbers_ = std::move(numbers_);
    p->owned_ = std::move(all_);
    all_.clear();
    operations_.clear();
    return p;
}

Plan::~Plan() {
    for (std::size_t i = owned_.size(); i-- > 0;) functions().destroy(owned_[i]);
}

void Plan::run(Gpu& gpu, std::span<const std::pair<std::int64_t, void*>> memory) const {
    const Functions& f = functions();
    std::vector<std::int64_t> at;
    std::vector<void*> data;
    for (const auto& [number, address] : memory) at.push_back(number), data.push_back(address);
    for (const auto& [number, bytes] : numbers_)
        at.push_back(number), data.push_back(const_cast<std::byte*>(bytes.data()));
    const std::shared_ptr<Storage> storage = workspace_ > 0 ? gpu.allocate(workspace_) : nullptr;
    void* workspace = storage ? storage->data() : nullptr;
    const Handle handle = handle_of(gpu);
    const Gpu::Scope scope(gpu);
    static auto& mutex = *new std::mutex;
    const std::lock_guard lock(mutex);
    Descriptor pack = nullptr;
    expect(f.make(kVariantPack, &pack), "a variant pack");
    const std::unique_ptr<void, int (*)(Descriptor)> ends(pack, f.destroy);
    const auto n = static_cast<std::int64_t>(at.size());
    set(pack, kPackNumbers, kOfInt64, n, at.data(), "a variant pack");
    set(pack, kPackPointers, kOfPointer, n, data.data(), "a variant pack");
    set(pack, kPackWorkspace, kOfPointer, 1, &workspace, "a variant pack");
    expect(f.finalize(pack), "a variant pack");
    expect(f.set_stream(handle, gpu.stream()), "cudnnSetStream");
    expect(f.execute(handle, plan_, pack), "cudnnBackendExecute");
}

}  // namespace tenon::cuda::cudnn
