// The files that a run is asked to write, checked before it begins. Every error is a tenon::FileError that names the
// option.
#pragma once

#include <string>

namespace cli {

/// Whether there is something at `path`.
bool exists(const std::string& option, const std::string& path);

/// Throws unless the directory can be written to, or made.
void check_directory(const std::string& option, const std::string& path);

/// Throws unless the file can be written. Anything that exists there must be a regular file, or a symlink to one or to
/// where one can be made.
void check_file(const std::string& option, const std::string& path);

/// Replaces the file, whole; a symlink stays and leads to the new one.
void replace_file(const std::string& option, const std::string& path, const std::string& content);

}  // namespace cli
