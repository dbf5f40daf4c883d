// The `tenon` command: arguments, and what errors look like.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include "bench.h"
#include "explain.h"
#include "info.h"
#include "tenon/error.h"
#include "tenon/version.h"
#include "text.h"
#include "train.h"
#include "tune.h"

namespace {

constexpr int kBadInput = 2, kFailure = 1;

/// An error is one line, whatever bytes of a file it quotes: control characters are shown as question marks.
int complain(std::string message, int status) {
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::replace_if(
        message.begin(), message.end(), [](char c) { return (c >= 0 && c < ' ') || c == 127; }, '?');
    std::fprintf(stderr, "tenon: %s\n", message.c_str());
    return status;
}

/// Refuses "--name=" without a value: the parser would take the next argument for it, and "--checkpoint= --json" would
/// make a directory "--json".
void refuse_empty_values(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument.starts_with("--") && argument.find('=') == argument.size() - 1)
            throw tenon::ValueError(std::string(argument) + ": no value follows the =");
    }
}

std::string command_line(int argc, char** argv) {
    std::string line;
    for (int i = 0; i < argc; ++i) line += (i > 0 ? " " : "") + cli::quote_shell(argv[i]);
    return line;
}

int run(int argc, char** argv) {
    CLI::App app("The matrix products of neural networks.", "tenon");
    app.set_version_flag("--version", std::string("tenon ") + TENON_VERSION);
    app.require_subcommand(0, 1);

    CLI::App* info = app.add_subcommand("info", "The machine, its instruction sets, and how fast it is, measured");
    bool json = false;
    info->add_flag("--json", json, "One JSON object");

    CLI::App* train = app.add_subcommand("train", "Trains a network on images, with dense or structured layers");
    cli::TrainArguments arguments;
    cli::declare(*train, arguments);

    CLI::App* bench = app.add_subcommand("bench", "Times products, beside other libraries where they are found");
    cli::BenchArguments bench_arguments;
    cli::declare(*bench, bench_arguments);

    CLI::App* tune = app.add_subcommand("tune", "Times the ways to compute products, and keeps the best for later");
    CLI::App* explain = app.add_subcommand("explain", "Says how products would be computed, and why not otherwise");
    cli::TuneArguments tune_arguments;
    cli::declare(*tune, tune_arguments);
    cli::ExplainArguments explain_arguments;
    cli::declare(*explain, explain_arguments);

    refuse_empty_values(argc, argv);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& request) {  // --help, --version
        return app.exit(request);
    } catch (const CLI::ParseError& error) {
        return complain(error.what(), kBadInput);
    }
    if (info->parsed()) {
        cli::info(json);
        return 0;
    }
    if (bench->parsed()) {
        bench_arguments.command = command_line(argc, argv);
        cli::bench(bench_arguments);
        return 0;
    }
    if (tune->parsed()) {
        cli::tune(tune_arguments);
        return 0;
    }
    if (explain->parsed()) {
        explain_arguments.command = command_line(argc, argv);
        cli::explain(explain_arguments);
        return 0;
    }
    if (!train->parsed())
        return complain("no command; there are info, train, bench, tune and explain (tenon --help)", kBadInput);
    arguments.options.command = command_line(argc, argv);
    return cli::train(cli::checked(arguments));
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const int status = run(argc, argv);
        // A full disk may show only now.
        if (status == 0 && (std::ferror(stdout) || std::fflush(stdout) != 0))
            return complain("standard output could not be written", kFailure);
        return status;
    } catch (const tenon::Error& error) {
        return complain(error.what(), kBadInput);
    } catch (const std::bad_alloc&) {
        return complain("not enough memory", kBadInput);
    } catch (const std::exception& error) {
        return complain(error.what(), kFailure);
    }
}
