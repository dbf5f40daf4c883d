#include "io/file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action) {
    const int error = errno;
    throw FileError(text(path, ": cannot ", action, ": ", std::strerror(error)));
}

/// Repeats a system call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string temporary_of(const std::string& path) {
    const auto slash = path.rfind('/');
    const auto name = slash == std::string::npos ? 0 : slash + 1;
    return text(path.substr(0, name), ".", path.substr(name), ".tmp");
}

/// Whether `name` still leads to the file that `descriptor` has open.
bool names(const std::string& name, int descriptor) {
    struct stat by_name, by_descriptor;
    return ::lstat(name.c_str(), &by_name) == 0 && ::fstat(descriptor, &by_descriptor) == 0 &&
           by_name.st_dev == by_descriptor.st_dev && by_name.st_ino == by_descriptor.st_ino;
}

/// The temporary file of write_file_atomically. It is locked, so that no other call writes into it, and removed at the
/// end of its scope unless it was renamed.
class Temporary {
  public:
    Temporary(const std::string& name, const std::string& path)
        : name_(name), file_(name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666, path) {
        file_.size();  // throws if it is not a regular file
        if (uninterrupted([&] { return ::flock(file_.descriptor(), LOCK_EX); }) != 0) fail(path, "lock");
        // The holder before us may have renamed or removed it between our open and our lock.
        ours_ = names(name, file_.descriptor());
        if (ours_ && uninterrupted([&] { return ::ftruncate(file_.descriptor(), 0); }) != 0) {
            remove();
            fail(path, "write");
        }
    }
    ~Temporary() { remove(); }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

    bool ours() const { return ours_; }
    const File& file() const { return file_; }
    void rename_to(const std::string& target, const std::string& path) {
        if (std::rename(name_.c_str(), target.c_str()) != 0) fail(path, "replace");
        ours_ = false;
    }

  private:
    void remove() {
        if (ours_) ::unlink(name_.c_str());
        ours_ = false;
    }

    std::string name_;
    File file_;
    bool ours_ = false;
};

/// The file to which a path leads by symbolic links, whether it exists or not.
std::string target_of(const std::string& path) {
    std::string target = path;
    for (int links = 0; links < 40; ++links) {
        std::string to(PATH_MAX, '\0');
        const auto length = ::readlink(target.c_str(), to.data(), to.size());
        if (length < 0) return target;  // not a link
        to.resize(static_cast<std::size_t>(length));
        target = to.starts_with('/') ? to : text(directory_of(target), "/", to);
    }
    errno = ELOOP;
    fail(path, "write");
}

/// Gives a file the owner and group of another, if this process may, and its permissions. A file that does not get the
/// group does not get the group's permissions either.
void take_over(const File& file, const struct stat& there, const std::string& path) {
    const bool has_group = ::fchown(file.descriptor(), there.st_uid, there.st_gid) == 0 ||
                           ::fchown(file.descriptor(), static_cast<uid_t>(-1), there.st_gid) == 0;
    if (::fchmod(file.descriptor(), there.st_mode & (has_group ? 0777u : 0707u)) != 0) fail(path, "write");
}

void write_and_rename(Temporary& temporary, const std::string& target, const std::string& path,
                      std::span<const std::span<const std::byte>> pieces) {
    for (const auto piece : pieces) temporary.file().write(piece);
    temporary.file().sync();
    temporary.rename_to(target, path);
    File(directory_of(target), O_RDONLY | O_DIRECTORY, 0, path).sync();
}

}  // namespace

File::File(const std::string& path, int flags, unsigned mode, const std::string& shown) : shown_(shown) {
    if (path.find('\0') != std::string::npos)
        throw FileError(text("\"", path.c_str(), "\": the file name goes on behind a NUL character"));
    descriptor_ = uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
    if (descriptor_ == -1) fail(shown, (flags & O_ACCMODE) == O_RDONLY ? "open" : "write");
}

File::File(const std::string& path) : File(path, O_RDONLY | O_NONBLOCK, 0, path) {}

File::~File() { ::close(descriptor_); }

std::uint64_t File::size() const {
    struct stat status;
    if (::fstat(descriptor_, &status) != 0) fail(shown_, "read");
    if (!S_ISREG(status.st_mode)) throw FileError(text(shown_, ": not a regular file"));
    return static_cast<std::uint64_t>(status.st_size);
}

void File::read(std::uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
        const auto n =
            uninterrupted([&] { return ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset)); });
        if (n < 0) fail(shown_, "read");
        if (n == 0) throw FileError(text(shown_, ": ends at byte ", offset, ", ", out.size(), " bytes early"));
        out = out.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
}

void File::write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
        const auto n = uninterrupted([&] { return ::write(descriptor_, bytes.data(), bytes.size()); });
        if (n < 0) fail(shown_, "write");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
}

void File::sync() const {
    // EINVAL: the file system cannot sync, or it is a special file.
    if (uninterrupted([&] { return ::fsync(descriptor_); }) != 0 && errno != EINVAL) fail(shown_, "sync");
}

std::vector<std::byte> read_file(const std::string& path) {
    const File file(path);
    const auto size = file.size();
    std::vector<std::byte> bytes;
    try {
        bytes.resize(size);
    } catch (const std::exception&) {
        throw MemoryError(text(path, ": no memory for its ", size, " bytes"));
    }
    file.read(0, bytes);
    return bytes;
}

void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> pieces) {
    struct stat there;  // renaming over a device or a pipe would remove it
    const bool is_there = ::stat(path.c_str(), &there) == 0;
    if (is_there && !S_ISREG(there.st_mode)) throw FileError(text(path, ": not a regular file"));
    const std::string target = target_of(path);
    for (;;) {
        Temporary temporary(temporary_of(target), path);
        if (!temporary.ours()) continue;
        if (is_there) take_over(temporary.file(), there, path);
        return write_and_rename(temporary, target, path, pieces);
    }
}

}  // namespace tenon
