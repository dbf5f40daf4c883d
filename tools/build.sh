#!/usr/bin/env bash
# Configures and builds the release preset: silent where it succeeds, but for one moving line on a terminal.
# Usage: tools/build.sh [-DOPTION=VALUE...] [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

options=() targets=()
for argument in "$@"; do
    case $argument in
    -D*) options+=("$argument") ;;
    *) targets+=(--target "$argument") ;;
    esac
done

cmake --preset release "${options[@]}" >/dev/null
if [ -t 1 ]; then
    cmake --build build/release "${targets[@]}"
else
    cmake --build build/release "${targets[@]}" -- --quiet | { grep -vx 'ninja: no work to do.' || true; }
fi
