// PyTorch and JAX on the CPU, for layers and attention: each in a process of its own, under the interpreter that has
// it.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <utility>

#include "bench/child.h"
#include "bench/peer.h"
#include "cli/json.h"

namespace bench {

extern const char* const kFrameworksScript;

namespace {

/// The interpreter with the library, for one number of threads. Throws std::runtime_error where it answers with an
/// error.
class Process {
  public:
    Process(const std::string& library, int count)
        : threads(count),
          child_({python(), "-c", kFrameworksScript, library, std::to_string(count)}),
          version_(version_of(child_)) {}

    std::string ask(const std::string& line) { return bench::ask(child_, line, "it computed"); }
    std::string new_id() { return std::to_string(next_++); }
    const std::string& version() const { return version_; }

    const int threads;

  private:
    Child child_;
    std::string version_;
    int next_ = 0;
};

/// A file with the operands for the process, and then with its results. The object removes it.
class File {
  public:
    File() {
        std::string name = (std::filesystem::temp_directory_path() / "tenon-bench-XXXXXX").string();
        const int descriptor = mkstemp(name.data());
        if (descriptor < 0) throw std::runtime_error(name + ": cannot be made");
        close(descriptor);
        path = name;
    }
    ~File() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    void write(const Operands& operands) const {
        const Stream file(std::fopen(path.c_str(), "wb"), std::fclose);
        for (const Buffer* part : {&operands.a, &operands.b})
            if (!file || std::fwrite(part->data(), 1, static_cast<std::size_t>(part->bytes()), file.get()) !=
                             static_cast<std::size_t>(part->bytes()))
                throw std::runtime_error(path + ": cannot be written");
        if (std::fflush(file.get()) != 0) throw std::runtime_error(path + ": cannot be written");
    }
    void read(const Buffer& results) const {
        const Stream file(std::fopen(path.c_str(), "rb"), std::fclose);
        const auto bytes = static_cast<std::size_t>(results.bytes());
        if (!file || std::filesystem::file_size(path) != bytes ||
            std::fread(results.data(), 1, bytes, file.get()) != bytes)
            throw std::runtime_error("results of another size");
    }

    std::string path;

  private:
    using Stream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
};

/// A problem that the process holds.
struct Held {
    std::shared_ptr<Process> process;
    std::string id = process->new_id();
    File file;

    explicit Held(std::shared_ptr<Process> p) : process(std::move(p)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
        try {
            process->ask("drop " + id);
        } catch (const std::exception&) {
            // The process has ended, or never held the problem.
        }
    }
    double seconds(std::int64_t calls) const {
        return std::strtod(process->ask("run " + id + ' ' + std::to_string(calls)).c_str(), nullptr);
    }
};

std::string spec_of(const Problem& p, const Held& held) {
    cli::JsonObject o;
    o.raw("id", held.id).add("file", held.file.path).add("dtype", traits(p.type).name);
    if (p.attention)
        return o.add("kind", "attention")
            .add("heads", p.shape.batch)
            .add("queries", p.shape.m)
            .add("keys", p.shape.n)
            .add("depth", p.shape.k)
            .add("causal", p.attention->causal)
            .add("backward", p.attention->backward)
            .text();
    const Structure& s = *p.structure;
    return o.add("kind", "layer")
        .add("rows", p.shape.m)
        .add("alpha", s.alpha)
        .add("beta", s.beta)
        .add("gamma", s.gamma)
        .add("delta", s.delta)
        .add("epsilon", s.epsilon)
        .add("phi", s.phi)
        .add("rho", s.rho)
        .add("backward", s.backward)
        .text();
}

Prepared prepare(const std::shared_ptr<Process>& process, const Problem& problem, const Operands& operands) {
    const auto held = std::make_shared<Held>(process);
    held->file.write(operands);
    process->ask(spec_of(problem, *held));
    const auto seconds = [held](std::int64_t calls) { return held->seconds(calls); };
    return {.run = [seconds](std::int64_t calls) { seconds(calls); },
            .fetch =
                [held, to = Buffer(operands.c.data(), operands.c.bytes()).data(), bytes = operands.c.bytes()] {
                    held->process->ask("fetch " + held->id);
                    held->file.read(Buffer(to, bytes));
                },
            .seconds = seconds};
}

Loaded load(const std::string& name) {
    try {
        // One process at a time, of as many threads as were last asked for.
        const auto current = std::make_shared<std::shared_ptr<Process>>(std::make_shared<Process>(name, 1));
        Peer peer;
        peer.name = name, peer.version = (*current)->version(), peer.takes_layers = true;
        peer.supports = [name](const Problem& p) -> std::string {
            if (!p.structure && !p.attention) return "layers and attention alone";
            if (name == "pytorch" && p.structure && p.type == Type::bf16) return "products of bfloat16 are rounded";
            if (name == "jax" && p.attention && p.type == Type::f64) return "softmax is of float32";
            return {};
        };
        peer.prepare = [current](const Problem& p, const Operands& o) { return prepare(*current, p, o); };
        peer.set_threads = [current, name](int threads) {
            if ((*current)->threads != threads) *current = std::make_shared<Process>(name, threads);
        };
        return {std::move(peer), {}};
    } catch (const std::exception& error) {
        return {std::nullopt, name + ": " + error.what()};
    }
}

}  // namespace

Loaded load_pytorch() { return load("pytorch"); }
Loaded load_jax() { return load("jax"); }

}  // namespace bench
