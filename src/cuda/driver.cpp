#include "cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

/// Directories in which CUDA's installers put libraries, and which the dynamic loader does not search.
constexpr const char* kDirectories[] = {"/usr/local/cuda/lib64", "/opt/cuda/lib64", "/usr/lib/cuda/lib64",
                                        "/usr/local/cuda/targets/x86_64-linux/lib",
                                        "/usr/local/cuda/targets/sbsa-linux/lib"};

void* find(void* library, const char* symbol) { return dlsym(library, symbol); }

template <class F>
bool bind(void* library, const char* symbol, F*& function) {
    function = reinterpret_cast<F*>(find(library, symbol));
    return function != nullptr;
}

struct Loaded {
    Driver functions;
    std::string absent;
};

/// Set in a forked child. Comparing process ids at each call of the driver would take most of a launch's time.
std::atomic<bool> forked{false};

std::string error_text(const Driver& d, Result result) {
    const char *name = nullptr, *words = nullptr;
    if (!d.error_name || d.error_name(result, &name) != 0 || !name) return text("error ", result);
    return d.error_text(result, &words) == 0 && words ? text(name, ", ", words) : std::string(name);
}

std::string load(Loaded& l) {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return "no CUDA driver (libcuda.so.1 is not found)";
    Driver& d = l.functions;
#define TENON_BIND(member, symbol, parameters) \
    if (!bind(library, #symbol, d.member)) return "the CUDA driver is too old (it has no " #symbol ")";
    TENON_CUDA_FUNCTIONS(TENON_BIND)
#undef TENON_BIND
#define TENON_BIND(member, symbol, parameters) bind(library, #symbol, d.member);
    TENON_CUDA_OPTIONAL_FUNCTIONS(TENON_BIND)
#undef TENON_BIND
    if (const Result r = d.init(0)) return text("the CUDA driver does not start: ", error_text(d, r));
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
    d.driver_version(&d.version);
    int devices = 0;
    if (const Result r = d.device_count(&devices)) return text("the CUDA driver names no device: ", error_text(d, r));
    return devices > 0 ? "" : "no CUDA device";
}

// Never destroyed, because storages in other static variables may outlive every static here.
Loaded& loaded() {
    static Loaded& once = *[] {
        auto* l = new Loaded;
        l->absent = load(*l);
        return l;
    }();
    return once;
}

struct Compiler {
    Nvrtc functions;
    std::string absent;
};

std::string load(Nvrtc& n) {
    constexpr const char* kNames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
    std::string tried;
    void* library = open_library("TENON_NVRTC", kNames, std::size(kNames), tried);
    if (!library) return text("no CUDA run-time compiler (NVRTC): ", tried);
#define TENON_BIND(member, symbol, parameters) \
    if (!bind(library, #symbol, n.member)) return "the CUDA run-time compiler is too old (it has no " #symbol ")";
    TENON_NVRTC_FUNCTIONS(TENON_BIND)
#undef TENON_BIND
    bind(library, "nvrtcGetErrorString", n.error_text);
    return n.version(&n.major, &n.minor) == 0 ? "" : "the CUDA run-time compiler does not say its version";
}

Compiler& compiler() {
    static Compiler& once = *[] {
        auto* c = new Compiler;
        c->absent = load(c->functions);
        return c;
    }();
    return once;
}

}  // namespace

void* open_library(const char* variable, const char* const* names, std::size_t count, std::string& tried) {
    const auto open = [&](const std::string& path) -> void* {
        void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) tried += text(tried.empty() ? "" : "; ", dlerror());
        return library;
    };
    if (const char* file = std::getenv(variable); file && *file) return open(file);
    for (std::size_t i = 0; i < count; ++i)
        if (void* library = open(names[i])) return library;
    for (const char* directory : kDirectories)
        for (std::size_t i = 0; i < count; ++i) {
            const std::string path = text(directory, "/", names[i]);
            if (access(path.c_str(), R_OK) == 0)
                if (void* library = open(path)) return library;
        }
    return nullptr;
}

const std::string& driver_absent() {
    Loaded& l = loaded();
    static const std::string used = "this process was forked from one that used CUDA";
    return l.absent.empty() && forked.load(std::memory_order_relaxed) ? used : l.absent;
}

const Driver& driver() {
    const std::string& absent = driver_absent();
    if (!absent.empty()) throw ValueError(text("cuda: ", absent));
    return loaded().functions;
}

const std::string& compiler_absent() { return compiler().absent; }

const Nvrtc& nvrtc() {
    if (!compiler_absent().empty()) throw ValueError(text("cuda: ", compiler_absent()));
    return compiler().functions;
}

void check(Result result, const char* what) {
    if (result == 0) return;
    if (result == kDeinitialized)
        throw ValueError(text("cuda: ", what, ": the driver has shut down, since the program is ending: ",
                              "a destructor of a static object cannot use a device"));
    const std::string message = text("cuda: ", what, ": ", error_text(loaded().functions, result));
    if (result == kOutOfMemory) throw MemoryError(message);
    throw ValueError(message);
}

}  // namespace tenon::cuda
