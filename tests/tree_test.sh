#!/usr/bin/env bash
# The tree holds what it should: no source too long to read, no path of somebody's machine, no unresolved merge, every
# script executable and, where shellcheck is installed, free of its findings, every environment variable documented,
# every public header in tenon.h.
# Usage: tree_test.sh SOURCE_DIR
set -euo pipefail
cd "$1"

# A file above 600 lines wants splitting; the limit leaves room for the last change before the split.
limit=660
status=0
complain() {
    echo "tree_test: $1" >&2
    status=1
}

# Outside a checkout (a source archive) every file counts.
files() {
    if [ -d .git ] || [ -f .git ]; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi
}

mapfile -d '' -t all < <(files)
scripts=()
for file in "${all[@]}"; do
    [ -f "$file" ] || continue
    case $file in
    *.h | *.cpp | *.cu | *.cuh | *.py | *.sh | *.cmake)
        lines=$(wc -l <"$file")
        [ "$lines" -le $limit ] || complain "$file has $lines lines; a file above 600 wants splitting"
        ;;
    esac
    read -r first <"$file" || true
    case $first in
    '#!'*)
        [ -x "$file" ] || complain "$file starts with #! and is not executable"
        case $first in *bash*) scripts+=("$file") ;; esac
        ;;
    esac
done

if grep -nIE -e '(^|[^A-Za-z0-9_.$}])/(home|Users|root|work)/[A-Za-z]' -- "${all[@]}"; then
    complain "the lines above name a path of somebody's machine"
fi
for header in include/tenon/*.h; do
    case $(basename "$header") in
    tenon.h | export.h) ;;
    *) grep -qF "#include \"tenon/$(basename "$header")\"" include/tenon/tenon.h || complain "tenon.h lacks $header" ;;
    esac
done
# Variables of tests and of tools are documented where they are read.
while read -r name; do
    grep -q "\`$name\`" docs/environment.md || complain "docs/environment.md lacks $name"
done < <(grep -rhoE --include='*.cpp' --exclude='*_test.cpp' '(getenv|environment|open_library)\("TENON_[A-Z_]+"' \
    src bench cli | grep -oE 'TENON_[A-Z_]+' | sort -u)
if grep -nIE -e '^(<<<<<<<|>>>>>>>) ' -- "${all[@]}"; then
    complain "the lines above are an unresolved merge"
fi
if command -v shellcheck >/dev/null && ! shellcheck -x "${scripts[@]}"; then
    complain "shellcheck complains"
fi
exit $status
