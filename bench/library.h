// Shared libraries that are found at run time.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace bench {

/// A loaded library, with its symbols to itself: two BLAS in one process do not meet. It stays loaded until the process
/// ends, since the threads of some libraries never end.
class Library {
  public:
    /// nullopt if it cannot be loaded.
    static std::optional<Library> load(const std::string& path);

    /// A function of this library or of those that it needs; null if there is none.
    template <class Function>
    Function* find(const std::string& name) const {
        return reinterpret_cast<Function*>(address(name));
    }
    const std::string& path() const { return path_; }

  private:
    Library(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
    void* address(const std::string& name) const;

    void* handle_;
    std::string path_;
};

/// Existing files that match one of the patterns (as in a shell) below one of the places where libraries are:
/// TENON_PEERS_DIR (a list with colons), where tools/setup-peers.sh puts them, an active virtual environment, beside
/// the command, and the system's. They are sorted by place, in this order, and then by pattern.
std::vector<std::string> find_libraries(const std::vector<std::string>& patterns);

}  // namespace bench
