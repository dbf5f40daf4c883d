// A child process that answers each line with a line.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace bench {

class Child {
  public:
    /// Throws std::runtime_error if the program does not start.
    explicit Child(const std::vector<std::string>& arguments);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void send(const std::string& line) const;
    /// The next line; empty if the program has ended.
    std::string receive();

  private:
    pid_t pid_ = -1;
    int in_ = -1, out_ = -1;  // its standard input and output
    std::string rest_;
};

/// The rest of the next line after the word "ready". Throws std::runtime_error with the rest of a line that begins with
/// "error", and if the program has ended.
std::string version_of(Child& child);

/// Sends a line and returns the answer. Throws std::runtime_error with the rest of an answer that begins with "error",
/// or, if the program has ended, a message that says so: "ended while" and `work`.
std::string ask(Child& child, const std::string& line, const char* work);

/// The Python interpreter that runs the other libraries: $TENON_PEERS_PYTHON, else python3.
std::string python();

}  // namespace bench
