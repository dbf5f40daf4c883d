#include "product/dense/tuning.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/cpu.h"
#include "base/text.h"
#include "io/file.h"
#include "product/dense/blocked.h"
#include "tenon/error.h"
#include "tenon/machine.h"
#include "tenon/threads.h"
#include "tenon/version.h"

namespace tenon::product::dense {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Multiply-adds from which a product looks for a tuned choice: below, the default is as good, and the file is never
/// opened.
constexpr double kTunedWork = 1 << 20;
constexpr std::size_t kMaxFileBytes = 16 << 20;
constexpr const char* kFormat = "tenon tuning 2";

using Records = std::map<ProblemKey, Choice>;
using Machines = std::map<int, Ceilings>;  // by number of threads

struct Known {
    Records records;
    Machines machines;
};

/// All known choices, and those that this process found. The object is replaced as a whole and never freed, so that
/// readers need no lock, which a fork could leave locked; each object keeps its predecessor.
struct Choices {
    Known all, own;
    const Choices* before;
    bool read;  // whether the file was read
};
std::atomic<const Choices*> current{nullptr};

/// Replaces `before`, its predecessor, by `next`; returns false, having done nothing, if another thread replaced it
/// first.
bool replace(const Choices* before, std::unique_ptr<const Choices> next) {
    if (!current.compare_exchange_strong(before, next.get(), std::memory_order_acq_rel)) return false;
    (void)next.release();
    return true;
}

/// With the caches, since virtual machines give CPUs of several kinds one name.
std::string machine_key() {
    const Machine& m = machine();
    std::string caches;
    for (const std::int64_t bytes : m.cache_bytes) caches += text(caches.empty() ? "" : " ", bytes >> 10);
    return text(m.cpu, ", ", m.cpus, " CPUs, caches of ", caches, " KiB, ", name(isa()), ", ", TENON_VERSION);
}

Json to_json(const ProblemKey& k, const Choice& c) {
    return {{"a", int(k.a)},
            {"b", int(k.b)},
            {"out", int(k.out)},
            {"a_lies", int(k.a_order)},
            {"b_lies", int(k.b_order)},
            {"threads", k.threads},
            {"batch", k.batch},
            {"m", k.m},
            {"n", k.n},
            {"k", k.k},
            {"row", c.way},
            {"chunk_bytes", c.chunk_bytes},
            {"tasks", c.tasks}};
}

/// What is wrong with a file, without the text of the JSON library or of the standard library.
std::string fault(const std::exception& e) {
    if (const auto* of = dynamic_cast<const fs::filesystem_error*>(&e)) return of->code().message();
    if (const auto* at = dynamic_cast<const Json::parse_error*>(&e)) return text("no JSON from byte ", at->byte, " on");
    if (dynamic_cast<const Json::exception*>(&e)) return "a field is missing or of another type";
    return e.what();
}

/// Throws if the JSON is not a record, or is out of range.
std::pair<ProblemKey, Choice> from_json(const Json& j) {
    const auto integer = [&](const char* name, std::int64_t low, std::int64_t high) {
        const Json& value = j.at(name);
        const auto i = value.is_number_integer() ? value.get<std::int64_t>() : low - 1;
        if (i < low || i > high) throw ValueError(text(name, " is out of range"));
        return i;
    };
    constexpr std::int64_t kMost = std::int64_t{1} << 48;
    const auto type = [&](const char* name) { return static_cast<DType>(integer(name, 0, kDTypeCount - 1)); };
    const auto order = [&](const char* name) { return static_cast<OperandOrder>(integer(name, 0, 3)); };
    const ProblemKey key{type("a"),
                         type("b"),
                         type("out"),
                         order("a_lies"),
                         order("b_lies"),
                         static_cast<int>(integer("threads", 1, kMaxThreads)),
                         integer("batch", 1, kMost),
                         integer("m", 1, kMost),
                         integer("n", 1, kMost),
                         integer("k", 1, kMost)};
    const Choice choice{static_cast<int>(integer("row", -1, kWayCount - 1)), integer("chunk_bytes", 0, 1 << 20),
                        static_cast<int>(integer("tasks", 0, 64))};
    return {key, choice};
}

Json to_json(const Ceilings& c) {
    const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(); };
    return {{"threads", c.threads},
            {"float32", number(c.float32)},
            {"float64", number(c.float64)},
            {"bfloat16", number(c.bfloat16)},
            {"int8", number(c.int8)},
            {"read", c.read},
            {"capacity", {c.capacity[0], c.capacity[1], c.capacity[2]}}};
}

/// Throws if no measurement could give it.
Ceilings ceilings_from_json(const Json& j) {
    const auto rate = [](const Json& value, double low, double high) {
        const auto x = value.get<double>();
        if (!(x >= low && x <= high)) throw ValueError("a rate out of range");
        return x;
    };
    constexpr double kLow = 1e6, kHigh = 1e18;
    Ceilings c;
    c.threads = j.at("threads").get<int>();
    if (c.threads < 1 || c.threads > kMaxThreads) throw ValueError("threads is out of range");
    c.float32 = rate(j.at("float32"), kLow, kHigh), c.float64 = rate(j.at("float64"), kLow, kHigh);
    c.bfloat16 = rate(j.at("bfloat16"), kLow, kHigh);
    c.int8 = j.at("int8").is_null() ? std::nan("") : rate(j.at("int8"), kLow, kHigh);
    for (std::size_t level = 0; level < kMemoryLevels; ++level)
        c.read[level] = rate(j.at("read").at(level), kLow, kHigh);
    for (std::size_t level = 0; level + 1 < kMemoryLevels; ++level)
        c.capacity[level] = rate(j.at("capacity").at(level), 1, kHigh);
    c.capacity.back() = std::numeric_limits<double>::infinity();
    return c;
}

/// The file's content; empty if there is no file. Throws if it is not a tuning file.
Json read(const std::string& path) {
    std::error_code error;
    if (path.empty() || !fs::exists(path, error)) return Json::object();
    if (fs::file_size(path) > kMaxFileBytes) throw ValueError("larger than 16 MiB");
    const std::vector<std::byte> bytes = read_file(path);
    const auto* first = reinterpret_cast<const char*>(bytes.data());
    Json all = Json::parse(first, first + bytes.size());
    if (!all.is_object() || all.value("format", Json()) != kFormat || !all.value("machines", Json()).is_object() ||
        (all.contains("ceilings") && !all["ceilings"].is_object()))
        throw ValueError("another format");
    return all;
}

/// The records of this machine in a file. Throws if it is not a tuning file.
Known known_from_json(const Json& all) {
    Known found;
    const std::string key = machine_key();
    const auto each = [&](const char* kind, auto f) {
        if (all.contains(kind) && all[kind].contains(key))
            for (const Json& record : all[kind][key]) f(record);
    };
    each("machines", [&](const Json& record) { found.records.insert(from_json(record)); });
    each("ceilings", [&](const Json& record) {
        const Ceilings c = ceilings_from_json(record);
        found.machines.insert({c.threads, c});
    });
    return found;
}

std::unique_ptr<Choices> load(const Choices* before) {
    const std::string path = tuning_path();
    try {
        return std::make_unique<Choices>(Choices{known_from_json(read(path)), {}, before, true});
    } catch (const std::exception& e) {
        std::fprintf(stderr, "tenon: %s is no file of tuned products, and plays no part (%s)\n", path.c_str(),
                     fault(e).c_str());
        return std::make_unique<Choices>(Choices{{}, {}, before, true});
    }
}

const Choices& choices() {
    while (true) {
        const Choices* now = current.load(std::memory_order_acquire);
        if (now && now->read) return *now;
        replace(now, load(now));
    }
}

/// Applies `add` to what is known.
template <class F>
void update(F add) {
    while (true) {
        const Choices& before = choices();
        auto next = std::make_unique<Choices>(before);
        next->before = &before;
        add(next->all);
        add(next->own);
        if (replace(&before, std::move(next))) return;
    }
}

/// Held while the file is read, completed and written, since other processes may do the same. On a file system without
/// locks it does nothing.
class DirectoryLock {
  public:
    explicit DirectoryLock(const fs::path& directory) : fd_(::open(directory.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (fd_ >= 0) (void)::flock(fd_, LOCK_EX);
    }
    DirectoryLock(const DirectoryLock&) = delete;
    DirectoryLock& operator=(const DirectoryLock&) = delete;
    ~DirectoryLock() {
        if (fd_ >= 0) ::close(fd_);
    }

  private:
    int fd_;
};

OperandOrder order_of(const AxisList& along, const AxisList& across, std::int64_t Axis::*stride) {
    if (along.size == 1 && along.axes[0].*stride == 1) return OperandOrder::along;
    return across.size == 1 && across.axes[0].*stride == 1 ? OperandOrder::across : OperandOrder::other;
}

}  // namespace

std::string tuning_path() {
    if (const char* file = std::getenv("TENON_TUNING")) return file;
    if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
        return text(cache, "/tenon/tuning.json");
    const char* home = std::getenv("HOME");
    return home && *home == '/' ? text(home, "/.cache/tenon/tuning.json") : std::string();
}

ProblemKey key_of(const Lowered& p, bool packed, int threads) {
    return {p.a_type,
            p.b_type,
            p.out_type,
            order_of(p.roles.summed, p.roles.rows, &Axis::a),
            packed ? OperandOrder::packed : order_of(p.roles.summed, p.roles.columns, &Axis::b),
            threads,
            p.batches,
            p.m,
            p.n,
            p.k};
}

void find_tuned(const Lowered& p, bool packed, Choice& choice) {
    const double work =
        static_cast<double>(p.batches) * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    if (work < kTunedWork) return;
    const Records& records = choices().all.records;
    if (records.empty()) return;
    const auto found = records.find(key_of(p, packed, num_threads()));
    if (found != records.end()) choice = found->second;
}

void remember(const ProblemKey& key, const Choice& choice) {
    update([&](Known& all) { all.records[key] = choice; });
}

void remember(const Ceilings& ceilings) {
    update([&](Known& all) { all.machines[ceilings.threads] = ceilings; });
}

const Ceilings* known_ceilings(int threads) {
    const Choices* now = current.load(std::memory_order_acquire);
    if (!now) return nullptr;
    const Machines& machines = now->all.machines;
    const auto found = machines.find(threads);
    return found == machines.end() ? nullptr : &found->second;
}

void save_tuning() {
    const std::string path = tuning_path();
    if (path.empty())
        throw FileError(std::getenv("TENON_TUNING")
                            ? "tuning: TENON_TUNING is empty: nothing is kept"
                            : "tuning: no directory for it: neither TENON_TUNING, XDG_CACHE_HOME nor HOME is set");
    const fs::path directory = fs::path(path).parent_path();
    std::error_code error;
    fs::create_directories(directory, error);
    const DirectoryLock lock(directory.empty() ? "." : directory);
    Json all;
    Known known;
    try {
        all = read(path);
        known = known_from_json(all);
    } catch (const std::exception& e) {
        throw FileError(text("tuning: ", path, " is no file of tuned products (", fault(e), "); move it away"));
    }
    for (const auto& [key, choice] : choices().own.records) known.records[key] = choice;
    for (const auto& [threads, measured] : choices().own.machines) known.machines[threads] = measured;
    Json records = Json::array(), ceilings = Json::array();
    for (const auto& [key, choice] : known.records) records.push_back(to_json(key, choice));
    for (const auto& [threads, measured] : known.machines) ceilings.push_back(to_json(measured));
    all["format"] = kFormat;
    all["machines"][machine_key()] = records;
    all["ceilings"][machine_key()] = ceilings;
    const std::string out = all.dump(1);
    const std::span<const std::byte> piece = std::as_bytes(std::span(out));
    write_file_atomically(path, {&piece, 1});
}

void forget_tuning() {
    const Choices* before = current.load(std::memory_order_acquire);
    replace(before, std::make_unique<const Choices>(Choices{{}, {}, before, false}));
}

}  // namespace tenon::product::dense
