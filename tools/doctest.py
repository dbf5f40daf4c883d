#!/usr/bin/env python3
"""Writes a test program from the examples in the documentation, so that they stay true.

An example is a block fenced with ```cpp in Markdown or in a comment of a header. It is a list of statements; it becomes
the body of one test, after `using namespace tenon`, and states what it promises with `assert`. An example with #include
lines has to name every header that it needs: nothing precedes it but other such examples. The rest follow, and may use
all of Tenon. Compiler messages name the line of the documentation.

Usage: doctest.py --root DIR --output FILE.cpp FILE...
"""

import argparse
import pathlib
import re

COMMENT = re.compile(r"^\s*//+ ?")
HEAD = """// Written by tools/doctest.py from the examples in the documentation.
#undef NDEBUG
"""
# What an example without #include lines may use.
COMMON = """#include <tenon/tenon.h>

#include <cassert>
#include <gtest/gtest.h>
"""


def examples(path):
    """Yields (line number of the first statement, lines) of each example in a file."""
    in_header = path.suffix == ".h"
    block, start = None, 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if in_header:
            if not COMMENT.match(line):
                if block is not None:
                    raise SystemExit(f"{path}:{number}: the comment ends inside a ```cpp block")
                continue
            line = COMMENT.sub("", line)
        fence = line.strip()
        if block is None and fence == "```cpp":
            block, start = [], number + 1
        elif block is not None and fence == "```":
            yield start, block
            block = None
        elif block is not None:
            block.append(line)
    if block is not None:
        raise SystemExit(f"{path}: a ```cpp block has no end")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()

    programs, fragments, tests = [], [], []
    for path in arguments.files:
        name = path.relative_to(arguments.root)
        identifier = re.sub(r"\W", "_", str(name))
        for start, lines in examples(path):
            function = f"{identifier}_{start}"
            includes = [line for line in lines if line.startswith("#include")]
            body = "\n".join("" if line.startswith("#include") else line for line in lines)
            code = f'static void {function}() {{\nusing namespace tenon;\n#line {start} "{name}"\n{body}\n}}\n'
            if includes:
                programs += [*includes, code]
            else:
                fragments.append(code)
            tests.append(f"TEST(Documentation, {function}) {{ ::{function}(); }}\n")
    text = "\n".join([HEAD, *programs, COMMON, *fragments, *tests])
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
