// A program that answers line by line.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace bench {

class Child {
  public:
    /// Throws std::runtime_error where the program does not start.
    explicit Child(const std::vector<std::string>& arguments);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void send(const std::string& line) const;
    /// The next line; empty where the program has ended.
    std::string receive();

  private:
    pid_t pid_ = -1;
    int in_ = -1, out_ = -1;  // what it reads, and what it writes
    std::string rest_;
};

/// What comes after "ready" on the next line of a program that begins so. Throws std::runtime_error with what comes
/// after "error", or where it has ended.
std::string version_of(Child& child);

/// The answer to a line. Throws std::runtime_error with what comes after "error", or, where the program has ended,
/// saying so: it was meanwhile to do `work`.
std::string ask(Child& child, const std::string& line, const char* work);

/// The interpreter that runs other libraries' side: $TENON_PEERS_PYTHON, else python3.
std::string python();

}  // namespace bench
