// The libraries that compute products: Tenon, and the peers that it is compared with, each in its peer_*.cpp.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/operands.h"
#include "bench/problem.h"

namespace bench {

/// A product that is ready to run.
struct Prepared {
    /// Runs it `calls` times.
    std::function<void(std::int64_t)> run;
    /// If the library has operands of its own: copies its result to C.
    std::function<void()> fetch;
    /// If a call overwrites its operand: restores it before each call, untimed.
    std::function<void()> renew = {};
    /// If another process makes the calls: runs them, and returns the seconds that they took there.
    std::function<double(std::int64_t)> seconds = {};
};

/// Thrown by Peer::prepare if only an attempt shows that the library lacks the product.
class Unsupported : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Peer {
    std::string name, version;
    /// Why it declines the problem; empty if it accepts.
    std::function<std::string(const Problem&)> supports;
    /// Makes what is made once: handles, packed weights. The operands outlive the result.
    std::function<Prepared(const Problem&, const Operands&)> prepare;
    std::function<void(int)> set_threads;
    /// The address of a function by its CBLAS name, for libraries that have CBLAS.
    std::function<void*(const std::string&)> symbol = {};
    /// True if calls are enqueued on a device: it is idle while others are timed, and then takes milliseconds to reach
    /// its full clock again.
    bool on_device = false;
    /// True if the library has structured layers and attention itself, so that they are not composed of its products.
    bool takes_layers = false;
    /// True if its products take what follows them in a linear layer.
    bool takes_linear = false;
};

/// A peer that is one routine of a library: its name, and how it is called.
Peer by_routine(const Peer& library, std::string (*symbol_of)(const Problem&),
                Prepared (*prepare)(void* routine, const Problem&, const Operands&));

/// `other` for layers and attention: by its own functions, or by a composition of its products, which may throw
/// Unsupported.
Peer by_composition(const Peer& other, Prepared (*compose)(const Peer&, const Problem&, const Operands&));

/// A peer, or one line that says what is missing and which package has it.
struct Loaded {
    std::optional<Peer> peer;
    std::string missing;
};

Peer tenon_peer();
Loaded load_openblas();
Loaded load_blis();
Loaded load_mkl();
Loaded load_onednn();
Loaded load_onednn_sycl();
Loaded load_eigen();
Loaded load_libxsmm();
Loaded load_pytorch();
Loaded load_jax();

/// Structured layers as chains, and one product after the other, on Tenon and on the other peers, by whatever
/// composition of products each does fastest; with `dense` also the product with the matrix that the layer is, by the
/// fastest of all.
std::vector<Peer> layer_peers(const std::vector<Peer>& others, bool dense = false);
inline constexpr const char* kDense = "dense";

/// Attention in one pass, and composed of two products with softmax between, on Tenon and on the other peers.
std::vector<Peer> attention_peers(const std::vector<Peer>& others);

/// Linear layers: the product with its epilogue, the product and then the tape (`unfused`), and the product alone
/// (`product`), on Tenon; and by the others that take them.
std::vector<Peer> linear_peers(const std::vector<Peer>& others);

struct PeerRow {
    const char* name;
    Loaded (*load)();
    bool layers_alone = false;  // it takes part in no other suite
};
/// All peers but Tenon.
const std::vector<PeerRow>& peer_rows();

/// The peers named in a list with commas, or all, or none; with `layers` also those for layers and attention alone.
/// For each library that is missing, a line goes to `missing`. Throws tenon::ValueError for an unknown name.
std::vector<Peer> load_peers(const std::string& names, std::vector<std::string>& missing, bool layers = false);

}  // namespace bench
