#!/usr/bin/env bash
# The products' tests with each operand ending at a page that cannot be touched (tests/guarded/memory.cpp).
# usage: guarded_test.sh MEMORY PROGRAM FILTER
set -euo pipefail
memory=$1 program=$2 filter=$3

# That the guard works here: the byte behind a block cannot be read, its last one can.
read_at() {
    LD_PRELOAD=$memory python3 -c "
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
ctypes.string_at(c.malloc(4096) + $1, 1)" 2>/dev/null
}
read_at 4095 || exit $?
if (read_at 4096) 2>/dev/null; then
    echo "guarded: a read past a block's end went unnoticed"
    exit 1
fi
LD_PRELOAD=$memory exec "$program" --gtest_brief=1 --gtest_filter="$filter"
