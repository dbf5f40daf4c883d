// Run-time compilation of device code, and the disk cache of its results: tenon/cubins below $XDG_CACHE_HOME or
// ~/.cache, or the directory that $TENON_CUBINS names (empty: no cache). The directory is made private to the user, and
// is not used if others may write to it. A file's name is the hash of everything that its content depends on; it is
// written to a temporary file and renamed, and checked when it is read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tenon::cuda {

/// A translation unit. `options` are the compiler's own ("-DRANK=2"), after ours: C++20, device code by default, no
/// contraction, no flushing of subnormals, correctly rounded divisions and square roots.
struct Unit {
    std::string name;  // for messages
    std::string text;
    std::vector<std::string> options{};
};

/// The embedded source of that name, with these options.
Unit unit(std::string_view source_name, std::vector<std::string> options = {});

/// "sm_90a" for 9.0, whose own instructions (wgmma, setmaxnreg) need the suffix; "sm_80", "sm_100", "sm_120".
std::string architecture_name(int major, int minor);

struct Compiled {
    std::string cubin;
    bool cached = false;  // was on the disk
};

/// The unit as machine code. Throws ValueError with the compiler's messages. Threads may compile at the same time.
Compiled compile(const Unit& unit, const std::string& architecture);

/// Where cubins are kept; empty if they are not kept.
std::string cubin_directory();

}  // namespace tenon::cuda
