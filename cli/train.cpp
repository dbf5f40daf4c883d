#include "train.h"

#include <tenon/error.h>
#include <tenon/threads.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "files.h"
#include "interrupt.h"
#include "json.h"
#include "progress.h"
#include "report.h"
#include "summary.h"
#include "table.h"
#include "text.h"
#include "trainer.h"

namespace cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kInterrupted = 130;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// --- rows ---

const std::vector<Column> kEpochColumns = {{"epoch"},         {"train loss"},  {"train accuracy"}, {"test loss"},
                                           {"test accuracy"}, {"images/s", 9}, {"seconds", 8}};

std::string rank_text(const RunOptions& o) {
    return o.rank ? std::to_string(*o.rank) : o.blocks ? std::to_string(*o.blocks) + " blocks" : "";
}

void print_title(const Trainer& trainer) {
    const RunOptions& o = trainer.options();
    std::string title = o.structure + ", width " + std::to_string(o.width) + ", depth " + std::to_string(o.depth);
    if (o.rank) title += ", rank " + std::to_string(*o.rank);
    if (o.blocks) title += ", " + std::to_string(*o.blocks) + " blocks";
    if (o.precision != "f32") title += ", " + o.precision;
    if (o.device != "cpu") title += ", on " + o.device;
    std::printf("%s: %s parameters, %s multiply-adds an image\n%s\n", title.c_str(),
                thousands(trainer.parameters()).c_str(), thousands(trainer.multiply_adds()).c_str(),
                header(kEpochColumns).c_str());
    std::fflush(stdout);
}

void print_row(std::int64_t number, const Epoch& e) {
    const double rate = e.images_per_second.value_or(kUnknown);
    std::printf("%s\n", row(kEpochColumns, {std::to_string(number), fixed(e.train_loss, 4), percent(e.train_accuracy),
                                            fixed(e.test_loss, 4), percent(e.test_accuracy),
                                            e.images_per_second ? thousands(static_cast<std::int64_t>(rate)) : "-",
                                            fixed(e.seconds.value_or(kUnknown), 1)})
                            .c_str());
    std::fflush(stdout);
}

void print_json(const Trainer& trainer, std::int64_t number, const Epoch& e) {
    const RunOptions& o = trainer.options();
    JsonObject line;
    line.add("model", o.model).add("structure", o.structure).add("width", o.width).add("depth", o.depth);
    if (o.rank) line.add("rank", *o.rank);
    if (o.blocks) line.add("blocks", *o.blocks);
    line.add("device", o.device).add("precision", o.precision);
    line.add("seed", o.seed).add("parameters", trainer.parameters()).add("multiply_adds", trainer.multiply_adds());
    line.add("epoch", number).add("epochs", o.epochs);
    line.add("train_loss", e.train_loss).add("train_accuracy", e.train_accuracy);
    line.add("test_loss", e.test_loss).add("test_accuracy", e.test_accuracy);
    line.add("images_per_second", e.images_per_second.value_or(kUnknown)).add("seconds", e.seconds.value_or(kUnknown));
    std::printf("%s\n", line.text().c_str());
    std::fflush(stdout);
}

void print_comparison(const std::vector<Summary>& runs) {
    const std::vector<Column> columns = {{"structure", 12, true}, {"width"},         {"rank", 8},
                                         {"parameters", 11},      {"multiply-adds"}, {"to the first"},
                                         {"test accuracy"},       {"images/s", 9},   {"seconds", 8}};
    std::printf("\n%s\n", header(columns).c_str());
    for (const Summary& run : runs)
        std::printf(
            "%s\n",
            row(columns, {run.options.structure, std::to_string(run.options.width), rank_text(run.options),
                          thousands(run.parameters), thousands(run.multiply_adds),
                          fixed(static_cast<double>(run.multiply_adds) / static_cast<double>(runs[0].multiply_adds), 3),
                          percent(run.epochs.back().test_accuracy),
                          run.images_per_second > 0 ? thousands(static_cast<std::int64_t>(run.images_per_second)) : "-",
                          fixed(run.seconds, 1)})
                .c_str());
    std::fflush(stdout);
}

// --- files ---

/// The path of a run's checkpoint; empty if it has none.
std::string checkpoint_directory(const TrainOptions& options, const RunOptions& run) {
    if (options.checkpoint.empty() || options.runs.size() == 1) return options.checkpoint;
    return (fs::path(options.checkpoint) / run.label()).string();
}

std::string checkpoint_file(const std::string& directory) {
    return directory.empty() ? "" : (fs::path(directory) / "checkpoint.safetensors").string();
}

/// A run never replaces the checkpoint of another one without being asked to.
void check_checkpoint(const std::string& directory, bool resume) {
    if (directory.empty()) return;
    check_directory("--checkpoint", directory);
    const std::string file = checkpoint_file(directory);
    if (exists("--checkpoint", file) && !resume)
        throw tenon::FileError(file + " exists: --resume goes on from it; to begin anew, remove it");
}

/// Creates the directory only when its first file is written, so that a run that fails earlier leaves nothing.
void make_directory(const std::string& directory) {
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) throw std::runtime_error("--checkpoint " + directory + ": " + error.message());
}

/// Calls f. If a file cannot be written after training, the error is not reported as bad input.
template <class F>
void written(F write) {
    try {
        write();
    } catch (const tenon::FileError& error) {
        throw std::runtime_error(error.what());
    }
}

// --- training ---

/// A run in progress: rows, progress bar, checkpoints.
class Run {
  public:
    Run(const TrainOptions& options, const RunOptions& run, const Data& data)
        : options_(options), directory_(checkpoint_directory(options, run)), trainer_(run, data) {}

    /// Returns whether it was completed.
    bool go() {
        begin();
        Progress progress(trainer_.options().label(), trainer_.images_to_see(), trainer_.images_seen());
        while (!trainer_.finished()) {
            const bool last = timed_step();
            progress.update(stage(), trainer_.images_seen(), trainer_.mean_loss());
            if (last) {
                end_epoch(progress);
            } else if (!directory_.empty() && trainer_.step_count() % options_.checkpoint_every == 0) {
                save();
            }
            if (interrupted() && !trainer_.finished()) {
                if (!last) save();
                return false;
            }
        }
        return true;
    }

    Summary summary() const {
        Summary s{trainer_.options(),
                  trainer_.parameters(),
                  trainer_.multiply_adds(),
                  trainer_.epochs(),
                  seconds_since(start_),
                  0,
                  {}};
        if (train_seconds_ > 0) s.images_per_second = static_cast<double>(images_) / train_seconds_;
        return s;
    }

    std::string where() const { return stage() + ", step " + std::to_string(trainer_.step_count()); }
    std::string file() const { return checkpoint_file(directory_); }

  private:
    std::string stage() const {
        return "epoch " + std::to_string(std::min(trainer_.epoch() + 1, trainer_.options().epochs)) + "/" +
               std::to_string(trainer_.options().epochs);
    }

    void begin() {
        if (options_.resume && exists("--checkpoint", file())) {
            trainer_.resume(file());
        } else {
            if (options_.resume)
                std::fprintf(stderr, "tenon: no %s yet: starting from the beginning\n", file().c_str());
            trainer_.initialize();
        }
        if (!options_.json) print_title(trainer_);
        for (std::size_t i = 0; i < trainer_.epochs().size(); ++i)
            print(static_cast<std::int64_t>(i) + 1, trainer_.epochs()[i]);
    }

    bool timed_step() {
        const auto start = Clock::now();
        const std::int64_t before = trainer_.images_seen();
        const bool last = trainer_.step();
        const double seconds = seconds_since(start);
        const std::int64_t images = trainer_.images_seen() - before;
        train_seconds_ += seconds, epoch_train_seconds_ += seconds;
        images_ += images, epoch_images_ += images;
        return last;
    }

    void end_epoch(Progress& progress) {
        trainer_.end_epoch();
        save();
        Epoch& epoch = trainer_.last_epoch();
        epoch.images_per_second = static_cast<double>(epoch_images_) / epoch_train_seconds_;
        epoch.seconds = seconds_since(epoch_start_);
        progress.clear();
        print(trainer_.epoch(), epoch);
        epoch_start_ = Clock::now(), epoch_train_seconds_ = 0, epoch_images_ = 0;
    }

    void print(std::int64_t number, const Epoch& epoch) const {
        options_.json ? print_json(trainer_, number, epoch) : print_row(number, epoch);
    }

    void save() {
        if (directory_.empty()) return;
        trainer_.settle();
        make_directory(directory_);
        written([&] { trainer_.save(file()); });
    }

    const TrainOptions& options_;
    std::string directory_;
    Trainer trainer_;
    Clock::time_point start_ = Clock::now(), epoch_start_ = start_;
    // The time of training steps alone, without tests and checkpoints.
    double train_seconds_ = 0, epoch_train_seconds_ = 0;
    std::int64_t images_ = 0, epoch_images_ = 0;
};

/// Checks a run before any begins, so that either all run or none does.
void check_run(const TrainOptions& options, const RunOptions& run, const Data& data) {
    const std::string directory = checkpoint_directory(options, run), file = checkpoint_file(directory);
    check_checkpoint(directory, options.resume);
    Trainer trainer(run, data);
    if (options.resume && exists("--checkpoint", file)) trainer.resume(file);
}

int say_how_to_resume(const TrainOptions& options, const Run& run) {
    const std::string resume = options.resume ? "" : " --resume";
    if (run.file().empty())
        std::fprintf(stderr, "tenon: stopped in %s; nothing is kept: there is no --checkpoint\n", run.where().c_str());
    else
        std::fprintf(stderr, "tenon: stopped in %s; written: %s\nto go on: %s%s\n", run.where().c_str(),
                     run.file().c_str(), options.command.c_str(), resume.c_str());
    return kInterrupted;
}

}  // namespace

int train(const TrainOptions& options) {
    const Interruptible until_return;
    if (options.threads) tenon::set_num_threads(*options.threads);
    tenon::num_threads();  // throws here for a bad TENON_NUM_THREADS, and not in some operation
    if (!options.report.empty()) check_file("--report", options.report);
    const Data data = load_data(options.data);
    for (const RunOptions& run : options.runs) check_run(options, run, data);

    std::vector<Summary> summaries;
    for (std::size_t i = 0; i < options.runs.size(); ++i) {
        if (i > 0 && !options.json) std::printf("\n");
        if (!options.report.empty()) tenon::profile::start();
        Run run(options, options.runs[i], data);
        if (!run.go()) return say_how_to_resume(options, run);
        summaries.push_back(run.summary());
        if (!options.report.empty()) {
            tenon::profile::stop();
            summaries.back().operations = tenon::profile::entries();
        }
    }
    if (options.runs.size() > 1 && !options.json) print_comparison(summaries);
    if (!options.report.empty()) written([&] { write_report(options, summaries); });
    return 0;
}

}  // namespace cli
