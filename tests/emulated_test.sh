#!/usr/bin/env bash
# The same bits on another machine: builds the hashing program for aarch64, runs it under an emulator, and compares with
# this machine's hashes in each instruction set.
# usage: emulated_test.sh SOURCE BINARY CMAKE NATIVE-PROGRAM
set -euo pipefail
source=$1 binary=$2 cmake=$3 native=$4

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "emulated: skipped: $tool is not installed (Debian: g++-aarch64-linux-gnu, qemu-user)"
        exit 77
    fi
done
launcher=$(command -v ccache || true)
mkdir -p "$binary/aarch64"
"$cmake" -S "$source/tests/emulated" -B "$binary/aarch64" -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ ${launcher:+"-DCMAKE_CXX_COMPILER_LAUNCHER=$launcher"} >"$binary/aarch64/log"
"$cmake" --build "$binary/aarch64" >>"$binary/aarch64/log" || { tail -50 "$binary/aarch64/log"; exit 1; }

cd "$binary/aarch64"
for set in baseline neon; do
    TENON_ISA=$set qemu-aarch64 ./hashes >"aarch64-$set"
done
for set in $("$native" --sets); do
    TENON_ISA=$set "$native" >"native-$set"
done
lines=$(wc -l <aarch64-neon)
[ "$lines" -gt 0 ] || { echo "emulated: no hashes"; exit 1; }
status=0
for other in aarch64-baseline native-*; do
    if ! diff -u aarch64-neon "$other" >difference; then
        echo "emulated: aarch64-neon and $other differ:"
        head -40 difference
        status=1
    fi
done
echo "emulated: $lines hashes compared"
exit $status
