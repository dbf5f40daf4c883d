#include "info.h"

#include <tenon/device.h>
#include <tenon/machine.h>
#include <tenon/threads.h>
#include <tenon/version.h>

#include <cstdio>

#include "json.h"
#include "text.h"

namespace cli {
namespace {

using tenon::DType;

struct Peak {
    std::string instruction_set;
    int threads;
    double f32, f64;
};

/// Measures with one thread, then with all that training would use.
std::vector<int> thread_counts() {
    const int all = tenon::num_threads();
    return all > 1 ? std::vector<int>{1, all} : std::vector<int>{1};
}

std::vector<Peak> peaks(const tenon::Machine& machine) {
    std::vector<Peak> found;
    for (const std::string& set : machine.instruction_sets)
        for (const int threads : thread_counts())
            found.push_back({set, threads, tenon::measure_peak(DType::float32, threads, set),
                             tenon::measure_peak(DType::float64, threads, set)});
    return found;
}

struct Memory {
    int threads;
    tenon::Bandwidth bandwidth;
};

std::vector<Memory> memory() {
    std::vector<Memory> found;
    for (const int threads : thread_counts()) found.push_back({threads, tenon::measure_bandwidth(threads)});
    return found;
}

struct ArithmeticClass {
    const char *name, *availability, *meaning;
};

std::vector<ArithmeticClass> classes(bool gpu) {
    return {{"portable", "available", "the same bits on any CPU, for any number of threads"},
            {"device", gpu ? "available" : "no GPU", "the same bits on one kind of GPU"},
            {"fast", "none in this build", "whatever a vendor's library gives"}};
}

/// The GPUs that can be used; `absent` says why the first cannot.
struct Gpus {
    std::string absent = tenon::cuda_absent();
    std::vector<tenon::DeviceProperties> all;
    Gpus() {
        for (int i = 0; absent.empty() && i < tenon::cuda_device_count(); ++i)
            all.push_back(tenon::device_properties(tenon::Device::cuda(i)));
    }
};

void print_gpus(const Gpus& gpus, void (*line)(const char*, const std::string&)) {
    if (gpus.all.empty()) return line("GPU", "none: " + gpus.absent);
    for (std::size_t i = 0; i < gpus.all.size(); ++i) {
        const tenon::DeviceProperties& p = gpus.all[i];
        line("GPU", "cuda:" + std::to_string(i) + " " + p.name + " (" + p.architecture + ", " +
                        std::to_string(p.multiprocessors) + " multiprocessors, " +
                        si(static_cast<double>(p.memory_bytes), "B") + ", driver of CUDA " +
                        std::to_string(p.driver / 1000) + "." + std::to_string(p.driver % 1000 / 10) + ", " +
                        p.compiler + ")");
    }
}

std::string threads_text(int threads) { return std::to_string(threads) + (threads == 1 ? " thread" : " threads"); }

void line(const char* name, const std::string& value) { std::printf("%-18s %s\n", name, value.c_str()); }

void print_text(const tenon::Machine& m) {
    line("tenon", TENON_VERSION);
    line("CPU", m.cpu);
    line("CPUs", std::to_string(m.cpus) + " online, " + std::to_string(m.cpus_allowed) + " allowed by affinity, " +
                     std::to_string(m.cpus_usable) + " usable under the cgroup's quota");
    line("memory available", si(static_cast<double>(m.memory_available), "B"));
    const auto& [l1, l2, l3] = m.cache_bytes;
    const auto kib = [](std::int64_t bytes) { return thousands(bytes >> 10) + " KiB"; };
    line("data caches", kib(l1) + ", " + kib(l2) + ", " + kib(l3));
    line("threads", std::to_string(tenon::num_threads()));
    line("instruction set", m.instruction_set + " (available: " + join(m.instruction_sets, ", ") + ")");
    line("CPU features", join(m.features, " "));
    const Gpus gpus;
    print_gpus(gpus, line);
    std::printf("\narithmetic classes\n");
    for (const ArithmeticClass& c : classes(!gpus.all.empty()))
        std::printf("  %-16s %s: %s\n", c.name, c.availability, c.meaning);
    std::fflush(stdout);

    std::printf("\npeak, fused multiply-adds in registers%21s%16s\n", "float32", "float64");
    for (const Peak& p : peaks(m))
        std::printf("  %-16s %-24s%16s%16s\n", p.instruction_set.c_str(), threads_text(p.threads).c_str(),
                    si(p.f32, "FLOP/s").c_str(), si(p.f64, "FLOP/s").c_str());
    std::fflush(stdout);

    const std::vector<Memory> bandwidths = memory();
    const auto mib = static_cast<long>(bandwidths.front().bandwidth.array_bytes >> 20);
    std::printf("\nmemory bandwidth, arrays of %4ld MiB%24s%16s\n", mib, "read", "triad");
    for (const Memory& b : bandwidths)
        std::printf("  %-41s%16s%16s\n", threads_text(b.threads).c_str(), si(b.bandwidth.read, "B/s").c_str(),
                    si(b.bandwidth.triad, "B/s").c_str());
}

template <class T, class F>
std::string json_array(const T& items, F object_of) {
    std::string array;
    for (const auto& item : items) (array += array.empty() ? "" : ", ") += object_of(item).text();
    return "[" + array + "]";
}

void print_json(const tenon::Machine& m) {
    const Gpus gpus;
    JsonObject available;
    for (const ArithmeticClass& c : classes(!gpus.all.empty())) available.add(c.name, c.availability);
    JsonObject all;
    all.add("version", TENON_VERSION).add("cpu", m.cpu).add("cpus", m.cpus).add("cpus_allowed", m.cpus_allowed);
    all.add("cpus_usable", m.cpus_usable).add("threads", tenon::num_threads());
    all.add("memory_available", m.memory_available);
    const auto& [l1, l2, l3] = m.cache_bytes;
    all.raw("cache_bytes", "[" + std::to_string(l1) + ", " + std::to_string(l2) + ", " + std::to_string(l3) + "]");
    all.add("instruction_set", m.instruction_set).add("instruction_sets", m.instruction_sets);
    all.add("features", m.features).add("gpu", !gpus.all.empty()).add("gpu_reason", gpus.absent);
    all.add("arithmetic_classes", available)
        .raw("gpus", json_array(gpus.all, [](const tenon::DeviceProperties& p) {
                 JsonObject o;
                 o.add("name", p.name).add("architecture", p.architecture).add("multiprocessors", p.multiprocessors);
                 return o.add("memory_bytes", p.memory_bytes).add("driver", p.driver).add("compiler", p.compiler);
             }));
    all.raw("peak_flops", json_array(peaks(m), [](const Peak& p) {
                JsonObject o;
                o.add("instruction_set", p.instruction_set).add("threads", p.threads);
                return o.add("float32", p.f32).add("float64", p.f64);
            }));
    all.raw("memory_bytes_per_second", json_array(memory(), [](const Memory& b) {
                JsonObject o;
                o.add("threads", b.threads).add("array_bytes", b.bandwidth.array_bytes);
                return o.add("read", b.bandwidth.read).add("triad", b.bandwidth.triad);
            }));
    std::printf("%s\n", all.text().c_str());
}

}  // namespace

void info(bool json) {
    const tenon::Machine machine = tenon::machine();
    json ? print_json(machine) : print_text(machine);
}

}  // namespace cli
