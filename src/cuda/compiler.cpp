#include "cuda/compiler.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <shared_mutex>
#include <span>

#include "base/hash.h"
#include "base/text.h"
#include "cuda/driver.h"
#include "cuda/embedded.h"
#include "io/file.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxCubinBytes = std::uint64_t{64} << 20;

/// Two independent 64-bit hashes of a sequence of texts, each entered with its length.
struct Hash {
    std::uint64_t a = 0x243f6a8885a308d3u, b = 0x13198a2e03707344u;

    void add(std::string_view s) {
        word(s.size());
        for (std::size_t i = 0; i < s.size(); i += 8) {
            std::uint64_t w = 0;
            std::memcpy(&w, s.data() + i, std::min<std::size_t>(8, s.size() - i));
            word(w);
        }
    }
    void word(std::uint64_t w) {
        a = mix(a, w);
        b = mix(b ^ 0xa4093822299f31d0u, w + 0x082efa98ec4e6c89u);
    }
    std::string hex() const {
        static constexpr char kDigits[] = "0123456789abcdef";
        std::string s;
        for (const std::uint64_t half : {a, b})
            for (int shift = 60; shift >= 0; shift -= 4) s += kDigits[half >> shift & 15];
        return s;
    }
};

std::vector<std::string> all_options(const Unit& u, const std::string& architecture) {
    std::vector<std::string> options{"--gpu-architecture=" + architecture,
                                     "--std=c++20",
                                     "--device-as-default-execution-space",
                                     "--device-int128",
                                     "-D__extension__=",
                                     "--fmad=false",
                                     "--ftz=false",
                                     "--prec-div=true",
                                     "--prec-sqrt=true",
                                     "--diag-suppress=177"};  // a function that this unit does not use
    options.insert(options.end(), u.options.begin(), u.options.end());
    return options;
}

/// Includes are found among the embedded sources, any of which the unit may read: all of them are part of the key.
std::string key_of(const Unit& u, const std::vector<std::string>& options) {
    static const Hash embedded = [] {
        Hash h;
        for (const Source& s : sources()) {
            if (!s.name.ends_with(".h") && !s.name.ends_with(".cuh")) continue;
            h.add(s.name);
            h.add(s.text);
        }
        return h;
    }();
    Hash h = embedded;
    h.add(text("tenon cubin 1, NVRTC ", nvrtc().major, ".", nvrtc().minor));
    for (const std::string& option : options) h.add(option);
    h.add(u.name);
    h.add(u.text);
    return h.hex();
}

/// A cubin's file: the mark, the key again, the hash of the content, the content.
constexpr std::string_view kMark = "tenon cubin 1\n";

std::string header_of(const std::string& key, std::string_view cubin) {
    Hash h;
    h.add(cubin);
    return text(kMark, key, "\n", h.hex(), "\n");
}

bool make_private(const std::string& directory) {
    std::error_code error;
    fs::create_directories(fs::path(directory).parent_path(), error);
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return false;
    struct stat s;
    return stat(directory.c_str(), &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid() &&
           (s.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

std::string path_of(const std::string& key) {
    const std::string directory = cubin_directory();
    return directory.empty() || !make_private(directory) ? std::string() : text(directory, "/", key, ".cubin");
}

/// Empty if there is no file, or if its content does not match its name.
std::string read_cubin(const std::string& path, const std::string& key) {
    std::error_code error;
    const auto size = path.empty() ? 0 : fs::file_size(path, error);
    if (path.empty() || error || size > kMaxCubinBytes) return {};
    try {
        const std::vector<std::byte> bytes = read_file(path);
        const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const std::size_t header = header_of(key, {}).size();
        if (all.size() <= header) return {};
        const std::string_view cubin = all.substr(header);
        return all.substr(0, header) == header_of(key, cubin) ? std::string(cubin) : std::string();
    } catch (const Error&) {
        return {};
    }
}

/// If the cache cannot be written, nothing is kept: the compiled code is used all the same.
void write_cubin(const std::string& path, const std::string& key, const std::string& cubin) {
    if (path.empty()) return;
    try {
        const std::string header = header_of(key, cubin);
        const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(header)), std::as_bytes(std::span(cubin))};
        write_file_atomically(path, pieces);
    } catch (const Error&) {
    }
}

struct Program {
    ProgramHandle handle = nullptr;
    ~Program() {
        if (handle) nvrtc().destroy(&handle);
    }
};

void expect(Result result, const Unit& u, const char* what) {
    if (result == 0) return;
    const char* words = nvrtc().error_text ? nvrtc().error_text(result) : "";
    throw ValueError(text("cuda: compiling ", u.name, ": ", what, ": ", words));
}

std::string log_of(ProgramHandle program) {
    std::size_t size = 0;
    if (nvrtc().log_size(program, &size) != 0 || size == 0) return {};
    std::string log(size, '\0');
    if (nvrtc().log(program, log.data()) != 0) return {};
    log.resize(std::strlen(log.c_str()));
    return log;
}

std::string run_compiler(const Unit& u, const std::vector<std::string>& options) {
    std::vector<std::string> texts;
    std::vector<const char*> names, contents, flags;
    for (const Source& s : sources()) {
        if (!s.name.ends_with(".h") && !s.name.ends_with(".cuh")) continue;
        texts.emplace_back(s.name);
        texts.emplace_back(s.text);
    }
    // The standard headers that shared headers include and NVRTC lacks.
    for (const char* standard : {"cstddef", "cstdint", "type_traits", "string_view", "bit", "tenon/export.h"}) {
        texts.emplace_back(standard);
        texts.emplace_back("#include \"cuda/standard.cuh\"\n");
    }
    for (std::size_t i = 0; i < texts.size(); i += 2) {
        names.push_back(texts[i].c_str());
        contents.push_back(texts[i + 1].c_str());
    }
    for (const std::string& option : options) flags.push_back(option.c_str());
    Program program;
    expect(nvrtc().create(&program.handle, u.text.c_str(), u.name.c_str(), static_cast<int>(names.size()),
                          contents.data(), names.data()),
           u, "creating the program");
    const Result result = nvrtc().compile(program.handle, static_cast<int>(flags.size()), flags.data());
    if (result != 0) expect(result, u, log_of(program.handle).c_str());
    std::size_t size = 0;
    expect(nvrtc().cubin_size(program.handle, &size), u, "the code's size");
    std::string cubin(size, '\0');
    expect(nvrtc().cubin(program.handle, cubin.data()), u, "the code");
    return cubin;
}

// Threads compile at the same time. A fork waits for them, so that the child does not inherit a lock of the compiler's.
std::shared_mutex& compiling() {
    static auto* mutex = [] {
        static std::shared_mutex held;
        pthread_atfork([] { held.lock(); }, [] { held.unlock(); }, [] { held.unlock(); });
        return &held;
    }();
    return *mutex;
}

}  // namespace

Unit unit(std::string_view source_name, std::vector<std::string> options) {
    return {std::string(source_name), std::string(source(source_name)), std::move(options)};
}

std::string architecture_name(int major, int minor) {
    return text("sm_", major, minor, major == 9 && minor == 0 ? "a" : "");
}

std::string cubin_directory() {
    if (const char* directory = std::getenv("TENON_CUBINS")) return directory;
    if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/') return text(cache, "/tenon/cubins");
    const char* home = std::getenv("HOME");
    return home && *home == '/' ? text(home, "/.cache/tenon/cubins") : std::string();
}

Compiled compile(const Unit& u, const std::string& architecture) {
    const std::vector<std::string> options = all_options(u, architecture);
    const std::string key = key_of(u, options), path = path_of(key);
    if (std::string found = read_cubin(path, key); !found.empty()) return {std::move(found), true};
    const std::shared_lock lock(compiling());
    std::string cubin = run_compiler(u, options);
    write_cubin(path, key, cubin);
    return {std::move(cubin), false};
}

}  // namespace tenon::cuda
