// A library that computes products: Tenon, and those it is compared with. Each peer_*.cpp gives one.
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
    /// Runs it so many times.
    std::function<void(std::int64_t)> run;
    /// Where the library keeps operands of its own: copies its result to C.
    std::function<void()> fetch;
    /// Where a call consumes its operand: gives it again, outside the timing, before each call.
    std::function<void()> renew = {};
    /// Where another process makes the calls: `run`, and how long they took there.
    std::function<double(std::int64_t)> seconds = {};
};

/// Thrown by Peer::prepare where only trying tells that a library lacks the product.
class Unsupported : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Peer {
    std::string name, version;
    /// Why it does not take the problem; empty where it does.
    std::function<std::string(const Problem&)> supports;
    /// Everything that is settled once: handles, packed weights. The operands outlive what it returns.
    std::function<Prepared(const Problem&, const Operands&)> prepare;
    std::function<void(int)> set_threads;
    /// The address of one of its functions by CBLAS's name; of a library that has CBLAS.
    std::function<void*(const std::string&)> symbol = {};
    /// Its calls are enqueued on a device, which is idle while others are timed, and then takes milliseconds to reach
    /// its speed again.
    bool on_device = false;
    /// Structured layers and attention are computed by itself, not composed of its products.
    bool takes_layers = false;
};

/// The library by one of its routines, whose name and call these are.
Peer by_routine(const Peer& library, std::string (*symbol_of)(const Problem&),
                Prepared (*prepare)(void* routine, const Problem&, const Operands&));

/// `other` for layers and attention: as it computes them itself, or by a composition of its products, which may throw
/// Unsupported.
Peer by_composition(const Peer& other, Prepared (*compose)(const Peer&, const Problem&, const Operands&));

/// A peer, or the line that says what is missing and which package has it.
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

struct PeerRow {
    const char* name;
    Loaded (*load)();
    bool layers_alone = false;  // it has no part in other suites
};
/// All peers but Tenon.
const std::vector<PeerRow>& peer_rows();

/// The peers named in a list with commas, or all, or none; with `layers` also those for layers and attention alone.
/// What is missing goes to `missing`, a line each. Throws tenon::ValueError for an unknown name.
std::vector<Peer> load_peers(const std::string& names, std::vector<std::string>& missing, bool layers = false);

}  // namespace bench
