#include "train_options.h"

#include <tenon/device.h>
#include <tenon/error.h>
#include <tenon/map.h>
#include <tenon/threads.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "text.h"

namespace cli {
namespace {

[[noreturn]] void refuse(const std::string& option, const std::string& value, const std::string& rule) {
    throw tenon::ValueError("--" + option + " " + value + ": " + rule);
}

using tenon::map::NamedStructure;

/// The names of all structures, or of those for which `wanted` is true.
std::string names(bool NamedStructure::*wanted = nullptr) {
    std::vector<std::string> all;
    for (const NamedStructure& s : tenon::map::structures())
        if (!wanted || s.*wanted) all.emplace_back(s.name);
    return join(all, ", ");
}

NamedStructure structure_named(const std::string& name) {
    for (const NamedStructure& s : tenon::map::structures())
        if (s.name == name) return s;
    refuse("structure", name, "unknown; there are " + names());
}

// Far beyond what any machine can train, and far below where sizes overflow.
constexpr std::int64_t kMost = std::int64_t{1} << 24;

/// -1 if the text is no whole number of 63 bits.
std::int64_t whole_number(const std::string& value) {
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    return error == std::errc() && end == value.data() + value.size() ? std::max<std::int64_t>(n, -1) : -1;
}

std::int64_t width_of(const std::string& value) {
    const std::int64_t n = whole_number(value);
    if (n < 1 || n > kMost) refuse("width", value, "not a whole number from 1 to " + thousands(kMost));
    return n;
}

std::int64_t seed_of(const std::string& value) {
    const std::int64_t n = whole_number(value);
    if (n < 0) refuse("seed", value, "not a whole number from 0 to 2^63 - 1");
    return n;
}

void check_positive(const char* option, std::int64_t n) {
    if (n < 1) refuse(option, std::to_string(n), "at least 1 is needed");
    if (n > kMost) refuse(option, std::to_string(n), "above " + thousands(kMost));
}

void check_range(const char* option, double x, bool in_range, const char* rule) {
    if (!in_range || !std::isfinite(x)) refuse(option, shortest(x), rule);
}

void check(const RunOptions& o) {
    if (o.model != "mlp") refuse("model", o.model, "unknown; there is mlp");
    check_positive("depth", o.depth);
    if (o.rank) check_positive("rank", *o.rank);
    if (o.blocks) check_positive("blocks", *o.blocks);
    check_positive("epochs", o.epochs);
    check_positive("batch", o.batch);
    check_range("lr", o.lr, o.lr > 0, "a learning rate is above 0");
    check_range("weight-decay", o.weight_decay, o.weight_decay >= 0, "at least 0 is needed");
    check_range("warmup", o.warmup, o.warmup >= 0 && o.warmup < 1, "a fraction of all steps is from 0 to below 1");
    check_range("clip", o.clip, o.clip >= 0, "a norm is at least 0 (0: no clipping)");
    check_range("dropout", o.dropout, o.dropout >= 0 && o.dropout < 1, "a rate is from 0 to below 1");
    if (o.precision != "f32" && o.precision != "bf16") refuse("precision", o.precision, "f32, or bf16");
}

/// The device's full name, if it can be used.
std::string device_named(const std::string& name) {
    tenon::Device device;
    try {
        device = tenon::device_of(name);
    } catch (const tenon::ValueError&) {
        refuse("device", name, "cpu, or cuda (cuda:1 and so on)");
    }
    if (device == tenon::Device::cpu()) return tenon::to_string(device);
    if (const std::string absent = tenon::cuda_absent(); !absent.empty()) refuse("device", name, absent);
    if (device.index >= tenon::cuda_device_count())
        refuse("device", name, "there are " + std::to_string(tenon::cuda_device_count()));
    return tenon::to_string(device);
}

/// Lists are extended to the length of the longest; a single value is repeated.
std::vector<RunOptions> runs_of(const TrainArguments& arguments) {
    const auto structures = split(arguments.structures, ','), widths = split(arguments.widths, ',');
    const std::size_t n = std::max(structures.size(), widths.size());
    if ((structures.size() != n && structures.size() != 1) || (widths.size() != n && widths.size() != 1))
        refuse("width", arguments.widths, "one, or as many as there are structures (" + arguments.structures + ")");
    std::vector<RunOptions> runs;
    std::set<std::string> labels;
    for (std::size_t i = 0; i < n; ++i) {
        RunOptions run = arguments.run;
        run.device = device_named(run.device);
        run.seed = seed_of(arguments.seed);
        const NamedStructure structure = structure_named(structures[structures.size() == 1 ? 0 : i]);
        run.structure = structure.name;
        run.width = width_of(widths[widths.size() == 1 ? 0 : i]);
        if (!structure.has_rank) run.rank.reset();
        if (!structure.has_blocks) run.blocks.reset();
        if (!labels.insert(run.label()).second) refuse("structure", arguments.structures, run.label() + " comes twice");
        runs.push_back(run);
    }
    return runs;
}

}  // namespace

std::map<std::string, std::string> RunOptions::as_text() const {
    std::map<std::string, std::string> all = {{"model", model},
                                              {"structure", structure},
                                              {"width", std::to_string(width)},
                                              {"depth", std::to_string(depth)},
                                              {"epochs", std::to_string(epochs)},
                                              {"batch", std::to_string(batch)},
                                              {"lr", shortest(lr)},
                                              {"weight-decay", shortest(weight_decay)},
                                              {"warmup", shortest(warmup)},
                                              {"clip", shortest(clip)},
                                              {"dropout", shortest(dropout)},
                                              {"seed", std::to_string(seed)}};
    const RunOptions usual;
    if (device != usual.device) all["device"] = device;
    if (precision != usual.precision) all["precision"] = precision;
    if (rank) all["rank"] = std::to_string(*rank);
    if (blocks) all["blocks"] = std::to_string(*blocks);
    return all;
}

std::string RunOptions::label() const {
    std::string text = structure + "-" + std::to_string(width);
    if (rank) text += "-r" + std::to_string(*rank);
    if (blocks) text += "-b" + std::to_string(*blocks);
    return text;
}

void declare(CLI::App& command, TrainArguments& arguments) {
    TrainOptions& o = arguments.options;
    RunOptions& run = arguments.run;
    // If an option is given twice the last one counts, so that arguments after a script's own override them.
    command.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    command.add_option("--data", o.data, "fashion-mnist, or a directory with four IDX files as MNIST's")
        ->capture_default_str();
    command.add_option("--model", run.model, "mlp: the residual MLP")->capture_default_str();
    command
        .add_option("--structure", arguments.structures,
                    "One of " + names() + "; several, with commas, are trained one after the other and compared")
        ->capture_default_str();
    command.add_option("--width", arguments.widths, "Of the network; one, or one for each structure")
        ->capture_default_str();
    command.add_option("--rank", run.rank, "Of " + names(&NamedStructure::has_rank) + "; others have none [their own]");
    command.add_option("--blocks", run.blocks,
                       "Of each factor of " + names(&NamedStructure::has_blocks) + "; others have none [4]");
    command.add_option("--depth", run.depth, "Residual blocks")->capture_default_str();
    command.add_option("--epochs", run.epochs, "Times through the training images")->capture_default_str();
    command.add_option("--batch", run.batch, "Images a step")->capture_default_str();
    command.add_option("--lr", run.lr, "Highest learning rate, at width 64 (it is scaled to the width)")
        ->capture_default_str();
    command.add_option("--weight-decay", run.weight_decay, "AdamW's")->capture_default_str();
    command.add_option("--warmup", run.warmup, "Fraction of all steps in which the learning rate rises; then a cosine")
        ->capture_default_str();
    command.add_option("--clip", run.clip, "Highest global norm of the gradients; 0: no clipping")
        ->capture_default_str();
    command.add_option("--dropout", run.dropout, "Rate of dropout in the blocks")->capture_default_str();
    command.add_option("--seed", arguments.seed, "Of all random numbers")->capture_default_str();
    command.add_option("--device", run.device, "cpu, or cuda: where the network is")->capture_default_str();
    command
        .add_option("--precision", run.precision,
                    "f32, or bf16: of weights and activations in the network; parameters and moments are f32")
        ->capture_default_str();
    command.add_option("--threads", o.threads, "CPU threads; they never change a result [all that may be used]");
    command.add_option(
        "--checkpoint", o.checkpoint,
        "Directory for checkpoint.safetensors, made if missing; for several structures, one below it for each");
    command.add_option("--checkpoint-every", o.checkpoint_every, "Steps between checkpoints, beside those of epochs")
        ->capture_default_str();
    command.add_flag("--resume", o.resume, "Go on from the checkpoint");
    command.add_flag("--json", o.json, "Rows as JSON objects, one line an epoch");
    command.add_option("--report", o.report, "Write a page of curves, counts and times to this file, as HTML");
    command.footer(
        "With --json each line is an object with model, structure, width, depth, rank or blocks, device, precision,\n"
        "seed, parameters, multiply_adds, epoch, epochs, train_loss, train_accuracy, test_loss, test_accuracy (from 0 "
        "to 1),\n"
        "images_per_second and seconds.\n"
        "Ctrl-C writes a checkpoint and prints the command that goes on. Exit status: 0, 2 for bad input, 130 after "
        "Ctrl-C,\n1 for anything else.");
}

TrainOptions checked(const TrainArguments& arguments) {
    TrainOptions options = arguments.options;
    check(arguments.run);
    options.runs = runs_of(arguments);
    if (options.threads && (*options.threads < 1 || *options.threads > tenon::kMaxThreads))
        refuse("threads", std::to_string(*options.threads), "not from 1 to " + thousands(tenon::kMaxThreads));
    check_positive("checkpoint-every", options.checkpoint_every);
    if (options.resume && options.checkpoint.empty()) throw tenon::ValueError("--resume: needs --checkpoint DIR");
    return options;
}

}  // namespace cli
