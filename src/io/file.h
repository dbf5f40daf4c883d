// Whole files: reading them, and replacing them so that a crash leaves the old one or the new one. Every failure is a
// FileError naming the file and what the system said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tenon {

/// An open file descriptor, closed at the end of its scope.
class File {
  public:
    /// `flags` and `mode` are those of open(2); O_CLOEXEC is added. Messages call the file `shown`.
    File(const std::string& path, int flags, unsigned mode, const std::string& shown);
    /// For reading; never waits, not even for a pipe's writer.
    explicit File(const std::string& path);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    int descriptor() const { return descriptor_; }
    /// The size in bytes; a FileError for what is no regular file, since only those have a size to check against.
    std::uint64_t size() const;
    /// Fills `out` from byte `offset`; a FileError where the file ends first.
    void read(std::uint64_t offset, std::span<std::byte> out) const;
    /// Writes all of `bytes` at the end of what was written.
    void write(std::span<const std::byte> bytes) const;
    /// Returns once data and size are on the disk.
    void sync() const;

  private:
    std::string shown_;
    int descriptor_;
};

/// The content of a regular file. MemoryError where it does not fit.
std::vector<std::byte> read_file(const std::string& path);

/// Replaces `path` by the concatenation of `pieces`: written to ".NAME.tmp" beside it, synced, renamed over it, and the
/// directory synced. Whoever reads `path`, also after a crash or a kill, finds the old content or the new one, whole.
/// On failure the temporary is removed and `path` is as it was; what is there and no regular file is refused.
/// Concurrent calls for one path take turns. A killed call leaves its temporary, which the next one reuses.
void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> pieces);

}  // namespace tenon
