#include "files.h"

#include <tenon/error.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <span>

#include "io/file.h"

namespace cli {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& option, const std::string& path, const std::string& rule) {
    throw tenon::FileError(option + " " + path + ": " + rule);
}

fs::file_status status_of(const std::string& option, const std::string& shown, const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::status_known(status)) refuse(option, shown, error.message());
    return status;
}

fs::path directory_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void check_writable(const std::string& option, const std::string& path, const fs::path& directory) {
    if (access(directory.c_str(), W_OK | X_OK) != 0)
        refuse(option, path, directory.string() + ": " + std::generic_category().message(errno));
}

/// The target of a symbolic link, even if it does not exist.
fs::path followed(const std::string& option, fs::path path) {
    constexpr int kMaxLinks = 40;  // Linux's own limit
    for (int i = 0; i < kMaxLinks; ++i) {
        std::error_code error;
        const fs::path target = fs::read_symlink(path, error);
        if (error) return path;
        path = directory_of(path) / target;
    }
    refuse(option, path.string(), "too many symbolic links");
}

}  // namespace

bool exists(const std::string& option, const std::string& path) { return fs::exists(status_of(option, path, path)); }

void check_directory(const std::string& option, const std::string& path) {
    fs::path at = path;
    while (!fs::exists(status_of(option, path, at)) && at.has_relative_path()) {
        if (fs::is_symlink(at)) refuse(option, path, at.string() + " leads to nothing");
        at = directory_of(at);
    }
    if (!fs::is_directory(status_of(option, path, at))) refuse(option, path, at.string() + " is not a directory");
    check_writable(option, path, at);
}

void check_file(const std::string& option, const std::string& path) {
    const fs::path target = followed(option, path);
    const fs::file_status status = status_of(option, path, target);
    if (fs::is_directory(status)) refuse(option, path, "is a directory");
    if (fs::exists(status) && !fs::is_regular_file(status)) refuse(option, path, "is not a regular file");
    const fs::path directory = directory_of(target);
    if (!fs::is_directory(status_of(option, path, directory)))
        refuse(option, path, "no directory " + directory.string());
    check_writable(option, path, directory);
    // The temporary file beside it: its name may be too long although the file's is not.
    status_of(option, path, directory / ("." + target.filename().string() + ".tmp"));
}

void replace_file(const std::string& option, const std::string& path, const std::string& content) {
    const auto bytes = std::as_bytes(std::span(content));
    try {
        tenon::write_file_atomically(followed(option, path).string(), {&bytes, 1});
    } catch (const tenon::FileError& error) {
        throw tenon::FileError(option + " " + error.what());
    }
}

}  // namespace cli
