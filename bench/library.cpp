#include "bench/library.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "cli/text.h"

namespace bench {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::vector<std::string> places() {
    std::vector<std::string> all;
    if (const std::string given = environment("TENON_PEERS_DIR"); !given.empty()) all = cli::split(given, ':');
    if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
        all.push_back(cache + "/tenon/peers");
    else if (const std::string home = environment("HOME"); !home.empty())
        all.push_back(home + "/.cache/tenon/peers");
    if (const std::string active = environment("VIRTUAL_ENV"); !active.empty()) all.push_back(active);
    std::error_code error;
    if (const fs::path command = fs::read_symlink("/proc/self/exe", error); !error)
        all.push_back((command.parent_path() / "peers").string());
    if (const std::string home = environment("HOME"); !home.empty()) all.push_back(home + "/.local");
    all.insert(all.end(), {"/usr/local", "/usr"});
    return all;
}

void add_matches(std::vector<std::string>& found, const std::string& pattern) {
    glob_t matches{};
    if (glob(pattern.c_str(), 0, nullptr, &matches) == 0)
        for (std::size_t i = 0; i < matches.gl_pathc; ++i) {
            std::error_code error;
            const fs::path file = fs::canonical(matches.gl_pathv[i], error);
            if (!error && std::find(found.begin(), found.end(), file.string()) == found.end()) found.push_back(file);
        }
    globfree(&matches);
}

}  // namespace

std::optional<Library> Library::load(const std::string& path) {
    int flags = RTLD_NOW | RTLD_LOCAL;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // The sanitizers, which replace malloc, refuse it.
    flags |= RTLD_DEEPBIND;
#endif
    void* handle = dlopen(path.c_str(), flags);
    if (!handle) return std::nullopt;
    return Library(handle, path);
}

void* Library::address(const std::string& name) const { return dlsym(handle_, name.c_str()); }

std::vector<std::string> find_libraries(const std::vector<std::string>& patterns) {
    std::vector<std::string> found;
    constexpr std::array<const char*, 7> kFolders = {"/",
                                                     "/lib/",
                                                     "/lib/*-linux-gnu/",
                                                     "/usr/lib/",
                                                     "/usr/lib/*-linux-gnu/",
                                                     "/lib/python3*/site-packages/",
                                                     "/lib/python3*/dist-packages/"};
    for (const std::string& place : places())
        for (const std::string& pattern : patterns)
            for (const char* folder : kFolders) add_matches(found, std::string(place).append(folder).append(pattern));
    return found;
}

}  // namespace bench
