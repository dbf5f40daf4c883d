#!/usr/bin/env bash
# clang, too, takes the kernels with warnings as errors: they are where compilers differ. Its front end alone, for what it
# would compile is not tested here. Usage: clang_test.sh SOURCE_DIR CMAKE [all]      all: every source, in some minutes
set -euo pipefail
source=$1 cmake=$2 which=${3-kernels}

clang=$(command -v clang++ || command -v clang++-14 || true)
if [ -z "$clang" ]; then
    echo "clang_test: clang++ is not installed"
    exit 77
fi
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# What asks the compiler what it can do must link: it is built as for debugging, without the flag.
"$cmake" -S "$source" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_FLAGS_RELEASE=-fsyntax-only -DCMAKE_TRY_COMPILE_CONFIGURATION=Debug -DTENON_DEVELOPER=ON \
    -DTENON_TESTS=OFF -DTENON_EXAMPLES=OFF -DTENON_BENCHMARKS=OFF >"$build/log" 2>&1 || {
    cat "$build/log"
    exit 1
}
cd "$build"
mapfile -t objects < <(ninja -t targets all | sed -n 's/: CXX_COMPILER__.*//p' |
    if [ "$which" = all ]; then cat; else grep -E '_isa\.cpp\.o$|/kernels_dot\.cpp\.o$'; fi)
ninja -k 0 "${objects[@]}" >log 2>&1 || {
    grep -A 5 -E 'error:|FAILED' log | head -100
    exit 1
}
echo "clang_test: $("$clang" --version | head -n 1): ${#objects[@]} sources"
