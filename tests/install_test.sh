#!/usr/bin/env bash
# The install tree is complete, relocatable, and holds no path of the machine that built it: installs into one prefix,
# moves it to another, and there builds and runs tests/consumer with find_package and with pkg-config. Then configures with
# add_subdirectory.
# Usage: install_test.sh SOURCE_DIR BUILD_DIR CMAKE CXX [CXXFLAGS]
set -euo pipefail
source_dir=$1 build_dir=$2 cmake=$3 cxx=$4 flags=${5-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/elsewhere/tenon

fail() {
    echo "install_test: $1" >&2
    exit 1
}

"$cmake" --install "$build_dir" --prefix "$scratch/first" --strip >"$scratch/install.log" || {
    cat "$scratch/install.log"
    fail "cmake --install failed"
}
mkdir -p "$scratch/elsewhere"
mv "$scratch/first" "$prefix"

# Sanitizers put the names of sources into what they build.
if [[ $flags != *-fsanitize* ]] && grep -rlF -e "$source_dir" -e "$build_dir" -e "$scratch" "$prefix"; then
    fail "the files above name a path of this machine"
fi

# The pages that the headers name come along.
documents=$(dirname "$(find "$prefix" -path '*/doc/*' -name CHANGELOG.md)")
while read -r page; do
    [ -f "$documents/$page" ] || fail "a header names $page, which is not installed"
done < <(grep -rhoE 'docs/[a-z0-9/-]+\.md' "$prefix/include" | sort -u)

# What a consumer sees is the new place alone.
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tenon.pc)")
read -ra flag_list <<<"$flags"

"$cmake" -S "$source_dir/tests/consumer" -B "$scratch/by-cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_CXX_FLAGS="$flags" >"$scratch/configure.log" 2>&1 || {
    cat "$scratch/configure.log"
    fail "find_package(Tenon) failed"
}
"$cmake" --build "$scratch/by-cmake" >"$scratch/build.log" 2>&1 || {
    cat "$scratch/build.log"
    fail "the consumer does not build with find_package"
}
if grep -F 'warning:' "$scratch/build.log"; then
    fail "our headers warn under the consumer's flags"
fi
"$scratch/by-cmake/consumer"
if echo '#include <tenon/tensor.h>
void f(const tenon::Tensor& x) { x.at({0}); }' |
    "$cxx" -std=c++20 -fsyntax-only -Werror=unused-result -I "$prefix/include" -x c++ - 2>"$scratch/unused.log" ||
    ! grep -q Werror=unused-result "$scratch/unused.log"; then
    fail "no warning where a tensor that is returned is not used"
fi

read -ra pkg_flags <<<"$(pkg-config --cflags --libs tenon)"
"$cxx" -std=c++20 "${flag_list[@]}" "$source_dir/tests/consumer/main.cpp" -o "$scratch/by-pkg-config" "${pkg_flags[@]}"
LD_LIBRARY_PATH=$(pkg-config --variable=libdir tenon) "$scratch/by-pkg-config"

# With add_subdirectory there are the libraries, and nothing is looked for that the command alone needs.
mkdir "$scratch/parent"
printf '%s\n' 'cmake_minimum_required(VERSION 3.25)' 'project(Parent LANGUAGES CXX)' "add_subdirectory($source_dir tenon)" \
    'add_executable(consumer '"$source_dir/tests/consumer/main.cpp)" 'target_link_libraries(consumer PRIVATE Tenon::tenon)' \
    >"$scratch/parent/CMakeLists.txt"
"$cmake" -S "$scratch/parent" -B "$scratch/within" -DCMAKE_CXX_COMPILER="$cxx" >"$scratch/within.log" 2>&1 || {
    cat "$scratch/within.log"
    fail "add_subdirectory fails"
}
if grep -E 'CLI11|GTest' "$scratch/within/CMakeCache.txt"; then
    fail "add_subdirectory looks for what only the command or the tests need"
fi

# The command finds its library from where it lies. Headers, pkg-config and command are of one version.
"$prefix/bin/tenon" --version
in_headers=$(echo 'TENON_VERSION' | "$cxx" -E -P -include tenon/version.h -I "$prefix/include" -x c++ - | tr -d '" \n')
[ "$(pkg-config --modversion tenon)" = "$in_headers" ] || fail "pkg-config's version is not that of the headers, $in_headers"
[ "$("$prefix/bin/tenon" --version)" = "tenon $in_headers" ] || fail "the command's version is not that of the headers, $in_headers"
