#!/usr/bin/env python3
"""The documents agree with the tree: every relative link leads to a file and, after '#', to a heading of it, and every
document that a source names exists. Usage: docs_test.py SOURCE_DIR"""

import os
import re
import subprocess
import sys

SOURCES = (".h", ".cpp", ".inc", ".cu", ".cuh", ".py", ".sh", ".cmake", ".txt")


def tracked(root):
    """The files of a checkout; of a source archive all."""
    if os.path.exists(os.path.join(root, ".git")):
        listed = ["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"]
        return [f for f in subprocess.check_output(listed, text=True).splitlines() if os.path.isfile(os.path.join(root, f))]
    found = (os.path.join(d, f) for d, _, files in os.walk(root) for f in files)
    return [os.path.relpath(f, root) for f in found if "/build/" not in f]


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def anchors(text):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*?) *$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(root, documents):
    for name in documents:
        text = re.sub(r"^```.*?^```", "", read(root, name), flags=re.S | re.M)
        for target, anchor in re.findall(r"\]\(([^()#\s]*)(?:#([^()\s]*))?\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(name), target)) if target else name
            if not os.path.exists(os.path.join(root, path)):
                yield f"{name}: no {path}"
            elif anchor and path.endswith(".md") and anchor not in anchors(read(root, path)):
                yield f"{name}: no heading #{anchor} in {path}"


def missing_documents(root, sources):
    for name in sources:
        for document in set(re.findall(r"\bdocs/[\w/-]+\.md\b", read(root, name))):
            if not os.path.exists(os.path.join(root, document)):
                yield f"{name}: no {document}"


def main():
    root = sys.argv[1]
    files = tracked(root)
    problems = [*broken_links(root, [f for f in files if f.endswith(".md")]),
                *missing_documents(root, [f for f in files if f.endswith(SOURCES)])]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
