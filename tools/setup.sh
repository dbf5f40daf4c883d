#!/usr/bin/env bash
# Installs what the build needs on Debian (12 or newer) and Ubuntu (24.04 or newer); says what, and is silent where
# nothing is missing. Elsewhere it names the packages and stops with status 2.
# Usage: tools/setup.sh [--check]      --check adds what only the tests run.
set -euo pipefail

packages=(g++ cmake ninja-build pkgconf python3 zlib1g-dev nlohmann-json3-dev libxxhash-dev libcli11-dev libgtest-dev
    libbenchmark-dev dataset-fashion-mnist)
# Named where they are there at all: a newer distribution may lack them, the library is built without, and the tests that
# use them say so and skip.
optional=(liblapack-dev)
if [ "${1-}" = --check ]; then
    packages+=(g++-aarch64-linux-gnu qemu-user)
    optional+=(clang clang-format-14 shellcheck libblas-test liblapack-test python3-numpy python3-scipy python3-pytest python3-hypothesis)
fi

die() {
    echo "setup: $1" >&2
    exit 2
}

# Runs quietly; shows what was said only where it fails.
quietly() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        return 1
    }
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
available() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [^(]' >/dev/null; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    die "this is not Debian or Ubuntu; install what they call: ${packages[*]} ${optional[*]}"
fi

missing=() wanted=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
for package in "${optional[@]}"; do
    installed "$package" || wanted+=("$package")
done
[ ${#missing[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
elif [ ${#missing[@]} -gt 0 ]; then
    die "needs root, or sudo, to install: ${missing[*]}"
else
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { quietly "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }

# The package lists are fetched only where they do not know a package, or know a version that is gone.
refresh() {
    echo "setup: reading the package lists" >&2
    apt update || die "apt-get update failed"
}

for package in "${missing[@]}"; do
    if ! available "$package"; then
        refresh
        break
    fi
done
for package in "${wanted[@]}"; do
    if available "$package"; then missing+=("$package"); fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}" >&2
apt install --yes --no-install-recommends "${missing[@]}" 2>/dev/null || {
    refresh
    apt install --yes --no-install-recommends "${missing[@]}" || die "could not install: ${missing[*]}"
}
