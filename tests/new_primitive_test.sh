#!/usr/bin/env bash
# tools/new-primitive writes one file and one line and nothing else; what it writes compiles, is formatted, and fails the
# sweep over primitives. Usage: new_primitive_test.sh SOURCE_DIR OBJECTS CXX [CXXFLAGS], where the file OBJECTS names what
# tenon_primitive_test is linked from.
set -euo pipefail
source_dir=$1 objects=$2 cxx=$3
read -ra flags <<<"${4-}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree
mkdir "$tree"
cp -r "$source_dir"/{include,src,tools,.clang-format} "$tree"
cd "$tree"

fail() {
    echo "new_primitive_test: $1" >&2
    exit 1
}

# The differences between the tree and its copy, a line each: "new FILE", or "changed FILE".
changes() {
    diff -rq "$scratch/before" "$tree" |
        sed -E "s|^Only in $tree/?(.*): (.*)|new \\1/\\2|; s|^Files .* and $tree/(.*) differ|changed \\1|" || true
}
starts() {
    rm -rf "$scratch/before"
    cp -r "$tree" "$scratch/before"
    tools/new-primitive "$@" >/dev/null || fail "new-primitive $* failed"
    [ "$(changes)" = "changed include/tenon/primitives.h
new src/primitive/$1.cpp" ] || fail "new-primitive $* touched other files than it should: $(changes)"
    local lines
    lines=$(diff "$scratch/before/include/tenon/primitives.h" include/tenon/primitives.h | grep '^[<>]' || true)
    grep -qzE "^> TENON_API Tensor $1\([^)]*\);\s*$" <<<"$lines" || fail "new-primitive $* changed the header by: $lines"
    "$cxx" -std=c++20 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iinclude -Isrc "${flags[@]}" \
        -c "src/primitive/$1.cpp" -o "$scratch/$1.o"
}
refuses() {
    rm -rf "$scratch/before"
    cp -r "$tree" "$scratch/before"
    if tools/new-primitive "$@" >/dev/null 2>&1; then fail "new-primitive $* should be refused"; fi
    [ -z "$(changes)" ] || fail "new-primitive $* was refused and changed $(changes)"
}

starts invented
refuses invented
refuses Invented
refuses ../invented
refuses add
refuses no_such_opcode --kind pointwise
refuses other --kind round
refuses

# A pointwise primitive stands on an opcode: take one whose primitive is not there.
rm src/primitive/erf.cpp src/primitive/maximum.cpp
sed -i -E '/Tensor (erf|maximum)\(/d' include/tenon/primitives.h
starts erf --kind pointwise
starts maximum --kind pointwise

status=0
tools/format --check 2>"$scratch/format" || status=$?
if [ $status = 1 ] && grep -E 'src/primitive/(invented|erf|maximum)\.cpp' "$scratch/format"; then
    fail "new-primitive writes files that are not formatted"
fi

"$cxx" "${flags[@]}" "$scratch/invented.o" "@$objects" -o "$scratch/primitive_test" -lgtest_main -lgtest -lz -ldl -pthread
if "$scratch/primitive_test" --gtest_filter='*/invented' >"$scratch/sweep"; then
    fail "the sweep passes a primitive that lacks its parts"
fi
grep -q 'FAILED.*HasAllItsParts/invented' "$scratch/sweep" || {
    cat "$scratch/sweep"
    fail "the sweep does not say what is missing"
}
