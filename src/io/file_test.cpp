// Atomic replacement of files: full disks, limits, kills at any moment, concurrent writers.
#include "io/file.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "io/safetensors.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using Bytes = std::vector<std::byte>;

class WriteFileAtomically : public testing::Test {
  protected:
    void SetUp() override {
        directory_ = testing::TempDir() + "tenon_file_test_" + std::to_string(::getpid());
        std::filesystem::create_directory(directory_);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::string path(const char* name) const { return directory_ + "/" + name; }
    void write(const std::string& to, const std::string& s) const {
        const auto piece = std::as_bytes(std::span(s));
        write_file_atomically(to, {&piece, 1});
    }
    std::string read(const std::string& from) const {
        const auto bytes = read_file(from);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& e : std::filesystem::directory_iterator(directory_)) found.push_back(e.path().filename());
        return found;
    }

    std::string directory_;
};

TEST_F(WriteFileAtomically, ReplacesTheContent) {
    write(path("x"), "old");
    write(path("x"), "");
    EXPECT_EQ(read(path("x")), "");
    write(path("x"), "new");
    EXPECT_EQ(read(path("x")), "new");
    EXPECT_EQ(names(), std::vector<std::string>{"x"});
}

TEST_F(WriteFileAtomically, JoinsItsPieces) {
    const std::string a = "first,", b, c = "second";
    const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(a)), std::as_bytes(std::span(b)),
                                                 std::as_bytes(std::span(c))};
    write_file_atomically(path("x"), pieces);
    EXPECT_EQ(read(path("x")), a + c);
}

TEST_F(WriteFileAtomically, TakesOverWhatAKilledCallLeft) {
    write(path(".x.tmp"), "a long leftover");
    write(path("x"), "new");
    EXPECT_EQ(read(path("x")), "new");
    EXPECT_EQ(names(), std::vector<std::string>{"x"});
}

TEST_F(WriteFileAtomically, RefusesWithTheFileNamed) {
    const auto message = [&](const std::string& to) -> std::string {
        try {
            write(to, "x");
            return "nothing";
        } catch (const FileError& error) {
            return error.what();
        }
    };
    EXPECT_EQ(message(path("missing/x")), path("missing/x") + ": cannot write: No such file or directory");
    std::filesystem::create_directory(path("folder"));
    EXPECT_EQ(message(path("folder")), path("folder") + ": not a regular file");
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
    ASSERT_EQ(::symlink(path("fifo").c_str(), path("to-fifo").c_str()), 0);
    for (const char* name : {"fifo", "to-fifo"}) {
        EXPECT_EQ(message(path(name)), path(name) + ": not a regular file");
        EXPECT_TRUE(std::filesystem::is_fifo(path(name)));
    }
    ASSERT_EQ(::mkfifo(path(".pipe.tmp").c_str(), 0600), 0);
    EXPECT_NE(message(path("pipe")).find(path("pipe") + ": "), std::string::npos);
    ASSERT_EQ(::symlink("/dev/null", path(".link.tmp").c_str()), 0);
    EXPECT_EQ(message(path("link")), path("link") + ": cannot write: Too many levels of symbolic links");
    EXPECT_EQ(names().size(), 5u);
}

TEST_F(WriteFileAtomically, KeepsThePermissions) {
    write(path("x"), "old");
    for (const ::mode_t mode : {0640u, 0600u, 0664u}) {
        ASSERT_EQ(::chmod(path("x").c_str(), mode), 0);
        write(path("x"), "new");
        struct stat status;
        ASSERT_EQ(::stat(path("x").c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 07777u, mode);
    }
}

// The new file of a process that may not give it to the old one's group belongs to the process's own group, which gets
// no permissions.
TEST_F(WriteFileAtomically, GivesAnotherGroupNothing) {
    if (::geteuid() != 0) GTEST_SKIP() << "not root, so that no file of another group can be made";
    write(path("x"), "old");
    ASSERT_EQ(::chmod(path("x").c_str(), 0664), 0);
    ASSERT_EQ(::chmod(path("").c_str(), 0777), 0);
    constexpr ::gid_t kNobody = 65534;
    const auto child = ::fork();
    if (child == 0) {
        if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) ::_exit(2);
        if (::access(path("").c_str(), W_OK | X_OK) != 0) ::_exit(3);
        try {
            write(path("x"), "new");
        } catch (const FileError&) {
            ::_exit(1);
        }
        ::_exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "other users do not reach " << path("");
    ASSERT_EQ(status, 0);
    EXPECT_EQ(read(path("x")), "new");
    struct stat now;
    ASSERT_EQ(::stat(path("x").c_str(), &now), 0);
    EXPECT_EQ(now.st_gid, kNobody);
    EXPECT_EQ(now.st_mode & 07777u, 0604u);
}

TEST_F(WriteFileAtomically, KeepsSymbolicLinks) {
    namespace fs = std::filesystem;
    fs::create_directory(path("folder"));
    write(path("folder/x"), "old");
    fs::create_symlink("folder/x", path("near"));  // from where the link stands
    fs::create_symlink(path("near"), path("far"));
    fs::create_symlink("folder/new", path("dangling"));
    fs::create_symlink("round", path("round"));
    write(path("far"), "new");
    EXPECT_EQ(read(path("folder/x")), "new");
    write(path("dangling"), "first");
    EXPECT_EQ(read(path("folder/new")), "first");
    for (const char* link : {"near", "far", "dangling"}) EXPECT_TRUE(fs::is_symlink(path(link))) << link;
    EXPECT_THROW(write(path("round"), "x"), FileError);
    EXPECT_EQ(names().size(), 5u);
    EXPECT_EQ(std::distance(fs::directory_iterator(path("folder")), fs::directory_iterator()), 2);
}

TEST_F(WriteFileAtomically, FullDeviceIsAnError) {
    const File full("/dev/full", O_WRONLY, 0, "disk");
    const Bytes bytes(10);
    try {
        full.write(bytes);
        FAIL();
    } catch (const FileError& error) {
        EXPECT_STREQ(error.what(), "disk: cannot write: No space left on device");
    }
}

TEST_F(WriteFileAtomically, FailedWriteLeavesTheOldFile) {
    write(path("x"), "old");
    const auto child = ::fork();
    if (child == 0) {
        // A file of at most 1000 bytes stands for a disk that fills: the first write is cut short, the next one fails.
        ::signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit { 1000, 1000 };
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            write(path("x"), std::string(5000, 'n'));
        } catch (const FileError& error) {
            ::_exit(std::strstr(error.what(), "x: cannot write: File too large") ? 0 : 1);
        }
        ::_exit(2);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(read(path("x")), "old");
    EXPECT_EQ(names(), std::vector<std::string>{"x"});
}

TEST_F(WriteFileAtomically, SignalsDoNotDisturb) {
    struct sigaction action {
    }, before;
    action.sa_handler = [](int) {};  // no SA_RESTART: system calls return EINTR
    ::sigaction(SIGUSR1, &action, &before);
    std::atomic<bool> done = false;
    const auto self = ::pthread_self();
    std::jthread noise([&] {
        while (!done) {
            ::pthread_kill(self, SIGUSR1);
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    });
    const std::string content(1 << 20, 'c');
    for (int i = 0; i < 20; ++i) {
        write(path("x"), content);
        ASSERT_EQ(read(path("x")), content);
    }
    done = true;
    noise.join();
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(WriteFileAtomically, ConcurrentWritersTakeTurns) {
    std::vector<std::jthread> writers;
    for (int w = 0; w < 4; ++w)
        writers.emplace_back([&, w] {
            for (int i = 0; i < 25; ++i) write(path("x"), std::string(50'000, static_cast<char>('a' + w)));
        });
    for (int i = 0; i < 200; ++i) {
        std::string found;
        try {
            found = read(path("x"));
        } catch (const FileError&) {
            continue;  // not there yet
        }
        ASSERT_EQ(found, std::string(50'000, found.at(0)));
    }
    writers.clear();
    EXPECT_EQ(names(), std::vector<std::string>{"x"});
}

/// A file whose tensors all hold the byte `value`.
void save(const std::string& path, int value) {
    const Bytes bytes(300'000, static_cast<std::byte>(value));
    write_safetensors(path, {{"a", DType::uint8, {300'000}, bytes}, {"b", DType::float32, {75'000}, bytes}},
                      {{"value", std::to_string(value)}});
}

TEST_F(WriteFileAtomically, KilledAtAnyMomentTheFileIsWhole) {
    const auto file_path = path("checkpoint.safetensors");
    save(file_path, 0);
    std::mt19937 random(11);
    for (int round = 0; round < 50; ++round) {
        const auto child = ::fork();
        if (child == 0) {
            for (int value = 1;; value = value % 200 + 1) save(file_path, value);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
        ::kill(child, SIGKILL);
        ASSERT_EQ(::waitpid(child, nullptr, 0), child);

        const SafetensorsFile file(file_path);
        const auto value = static_cast<std::byte>(std::stoi(std::string(*file.header().find_metadata("value"))));
        for (const char* tensor : {"a", "b"}) {
            Bytes out(300'000);
            file.read(*file.header().find(tensor), out);
            ASSERT_EQ(out, Bytes(300'000, value)) << "round " << round;
        }
    }
    EXPECT_LE(names().size(), 2u);
}

}  // namespace
}  // namespace tenon
