// The files that a run is asked to write, checked before it begins. Every error is a tenon::FileError that names the
// option.
#pragma once

#include <string>

namespace cli {

/// Whether there is something at `path`.
bool exists(const std::string& option, const std::string& path);

/// Throws unless the directory can be written to or created.
void check_directory(const std::string& option, const std::string& path);

/// Throws unless the file can be written. If the path exists it must be a regular file, or a symbolic link to one or to
/// a place where one can be created.
void check_file(const std::string& option, const std::string& path);

/// Replaces the whole file. A symbolic link stays and leads to the new file.
void replace_file(const std::string& option, const std::string& path, const std::string& content);

}  // namespace cli
