#include "bench/child.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "cli/text.h"

namespace bench {
namespace {

/// The environment, looked up at run time. If a program names `environ`, the linker gives it a copy of its own; then
/// libraries that prefer their own symbols, as those of library.h do, read the C library's, which is empty.
char** environment() { return *static_cast<char***>(dlsym(RTLD_DEFAULT, "environ")); }

}  // namespace

Child::Child(const std::vector<std::string>& arguments) {
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("no pipe to be had");
    std::vector<char*> argv;
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environment());
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]), close(from[1]);
    in_ = to[1], out_ = from[0];
    if (failed == 0) return;
    close(in_), close(out_);
    throw std::runtime_error(arguments[0] + ": " + std::strerror(failed));
}

Child::~Child() {
    close(in_);
    kill(pid_, SIGKILL);
    close(out_);
    waitpid(pid_, nullptr, 0);
}

void Child::send(const std::string& line) const {
    const std::string text = line + '\n';
    // That the program has ended is noticed when its answer is read.
    struct sigaction ignore {
    }, before{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &before);
    const ssize_t ignored = write(in_, text.data(), text.size());
    static_cast<void>(ignored);
    sigaction(SIGPIPE, &before, nullptr);
}

std::string Child::receive() {
    for (;;) {
        const std::size_t end = rest_.find('\n');
        if (end != std::string::npos) {
            std::string line = rest_.substr(0, end);
            rest_.erase(0, end + 1);
            return line;
        }
        char some[4096];
        const ssize_t n = read(out_, some, sizeof some);
        if (n <= 0) return {};
        rest_.append(some, static_cast<std::size_t>(n));
    }
}

std::string version_of(Child& child) {
    const std::vector<std::string> fields = cli::split(child.receive(), '\t');
    if (fields.size() != 2) throw std::runtime_error(python() + ": ended at once");
    if (fields[0] == "error") throw std::runtime_error(fields[1]);
    return fields[1];
}

std::string ask(Child& child, const std::string& line, const char* work) {
    child.send(line);
    std::string answer = child.receive();
    if (answer.starts_with("error\t")) throw std::runtime_error(answer.substr(6));
    if (answer.empty()) throw std::runtime_error(python() + ": ended while " + work);
    return answer;
}

std::string python() {
    const char* given = std::getenv("TENON_PEERS_PYTHON");
    return given ? given : "python3";
}

}  // namespace bench
