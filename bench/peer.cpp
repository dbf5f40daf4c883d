#include "bench/peer.h"

#include <algorithm>
#include <cstdlib>

#include "cli/text.h"
#include "tenon/error.h"

namespace bench {
namespace {

/// Environment variables that the libraries read when they are loaded.
void settle_environment() {
    // Forces an OpenBLAS kernel, perhaps a slow one; a benchmark takes what the library itself chooses.
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OPENBLAS_L2_SIZE");
    // Idle workers of one library spin for a while and would slow the next one down: some milliseconds at most, which
    // the pause between two libraries' samples covers. Calls in a row come far quicker than that.
    setenv("KMP_BLOCKTIME", "2", 0);
    setenv("GOMP_SPINCOUNT", "50000", 0);
    setenv("OPENBLAS_THREAD_TIMEOUT", "20", 0);
}

}  // namespace

const std::vector<PeerRow>& peer_rows() {
    static const std::vector<PeerRow> rows = {
        {"openblas", load_openblas},
        {"blis", load_blis},
        {"mkl", load_mkl},
        {"onednn", load_onednn},
        {"onednn-sycl", load_onednn_sycl},
        {"eigen", load_eigen},
        {"libxsmm", load_libxsmm},
        {"pytorch", load_pytorch, true},
        {"jax", load_jax, true},
    };
    return rows;
}

std::vector<Peer> load_peers(const std::string& names, std::vector<std::string>& missing, bool layers) {
    std::vector<Peer> peers;
    if (names == "none") return peers;
    std::vector<std::string> known;
    for (const PeerRow& row : peer_rows())
        if (layers || !row.layers_alone) known.emplace_back(row.name);
    std::vector<std::string> wanted = names == "all" ? known : cli::split(names, ',');
    for (const std::string& name : wanted)
        if (std::find(known.begin(), known.end(), name) == known.end())
            throw tenon::ValueError("--peers " + name + ": unknown; there are all, none, " + cli::join(known, ", "));
    settle_environment();
    for (const PeerRow& row : peer_rows()) {
        if (std::find(wanted.begin(), wanted.end(), row.name) == wanted.end()) continue;
        Loaded loaded = row.load();
        if (loaded.peer)
            peers.push_back(std::move(*loaded.peer));
        else
            missing.push_back(loaded.missing);
    }
    return peers;
}

Peer by_routine(const Peer& library, std::string (*symbol_of)(const Problem&),
                Prepared (*prepare)(void* routine, const Problem&, const Operands&)) {
    return {library.name,
            library.version,
            [=](const Problem& problem) {
                return library.symbol && library.symbol(symbol_of(problem)) ? std::string() : "lacks the routine";
            },
            [=](const Problem& problem, const Operands& operands) {
                return prepare(library.symbol(symbol_of(problem)), problem, operands);
            },
            library.set_threads,
            library.symbol};
}

Peer by_composition(const Peer& other, Prepared (*compose)(const Peer&, const Problem&, const Operands&)) {
    if (other.takes_layers) return other;
    Peer composed = other;
    composed.supports = [](const Problem&) { return std::string(); };
    composed.prepare = [=](const Problem& p, const Operands& o) { return compose(other, p, o); };
    return composed;
}

}  // namespace bench
