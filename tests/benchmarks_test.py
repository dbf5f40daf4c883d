"""tools/benchmarks: what its page says of results made up here, and that a command that fails keeps nothing.

Usage: benchmarks_test.py TOOL
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest

TOOL = sys.argv[1] if len(sys.argv) > 1 else "tools/benchmarks"

INFO = {"cpu": "Some CPU", "cpus_usable": 2, "instruction_set": "avx2", "cache_bytes": [32768, 1048576, 33554432],
        "peak_flops": [{"instruction_set": "avx2", "threads": 1, "float32": 1e11, "float64": 5e10},
                       {"instruction_set": "baseline", "threads": 1, "float32": 1e9, "float64": 1e9}]}


def result(problem, library, seconds, **others):
    values = {"problem": problem, "dtype": "f32", "threads": 1, "library": library, "seconds_median": seconds,
              "percent_of_peak": 80.0, "percent_of_roofline": 80.0, "spread_percent": 2.0, "version": "1.2 (build 3)"}
    return {**values, **others}


class Benchmarks(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.keep("info", INFO)

    def keep(self, name, content):
        with open(os.path.join(self.directory, f"{name}.json"), "w", encoding="utf-8") as file:
            json.dump(content, file)

    def run_tool(self, *arguments, program="tenon"):
        return subprocess.run([sys.executable, TOOL, *arguments], check=False, capture_output=True, text=True,
                              env={**os.environ, "TENON": program})

    def page(self):
        run = self.run_tool("page", self.directory, "Some machine")
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_a_cell_is_beside_the_fastest_peer(self):
        self.keep("product-1", [result("a", "tenon", 2.0), result("a", "mkl", 4.0), result("a", "onednn", 3.0),
                                result("b", "tenon", 2.0, percent_of_roofline=90.0), result("b", "openblas", 1.0)])
        page = self.page()
        self.assertTrue(page.startswith("# Some machine\n"))
        self.assertIn("| a | 1.50D 80 |", page)
        self.assertIn("| b | 0.50O 80/90 |", page)
        self.assertIn("| 0.87 of the best peer, 1 of 2 below 0.95 |", page)
        self.assertIn("Peers: M mkl 1.2, D onednn 1.2, O openblas 1.2.", page)
        self.assertIn("1 thread: 100 GFLOP/s in float32, 50 in float64", page)
        self.assertEqual(page.count("GFLOP/s"), 1)  # not those of the instruction sets that are not in force

    def test_wrong_results_and_problems_without_ours_have_no_cell(self):
        self.keep("product-1", [result("a", "tenon", 2.0), result("a", "mkl", None, error="wrong"), result("b", "mkl", 1.0)])
        page = self.page()
        self.assertIn("| a | 80 |", page)
        self.assertNotIn("| b |", page)

    def test_own_references_are_no_peers(self):
        self.keep("chain-1", [result("a", "tenon", 2.0), result("a", "unfused", 3.0), result("a", "onednn", 1.0)])
        self.keep("loop", [result("l", "tenon", 2.0, percent_of_peak=None), result("l", "tenon compiled", 1.0),
                           result("l", "by hand", 1.5)])
        page = self.page()
        self.assertIn("| a | 0.50D 1.50 80 |", page)
        self.assertIn("| l | 0.75 1.50 /80 |", page)
        self.assertIn("1.50 of Tenon's own reference, the least 1.50", page)

    def test_disturbed_cells_are_in_italics(self):
        self.keep("product-1", [result("a", "tenon", 2.0, spread_percent=30.0), result("b", "tenon", 2.0)])
        page = self.page()
        self.assertIn("| a | *80* |", page)
        self.assertIn("| b | 80 |", page)

    def test_training_has_times_and_memory(self):
        step = {"memory_bytes": 3 * 2**20, "percent_outside_kernels": 5.0}
        self.keep("train-1", [result("mlp", "tenon", 0.002, **step), result("mlp", "tenon compiled", 0.001, **step),
                              result("mlp", "pytorch", 0.004, **step), result("mlp", "jax", 0.003, memory_bytes=None)])
        self.assertIn("| mlp, 1 thread | 2.00 | 1.00 | 2.00, 4.00 | 1.50, 3.00 | 3, 3, - | 5.0, 5.0 |", self.page())

    def test_a_command_that_fails_keeps_nothing(self):
        program = os.path.join(self.directory, "program")
        with open(program, "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\n[ "$1" = info ] && echo "{}" && exit 0\necho half\nexit 3\n')
        os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
        run = self.run_tool("measure", self.directory, "small", program=program)
        self.assertEqual(run.returncode, 1)
        self.assertIn("small: exit status 3, nothing kept", run.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.directory, "small.json")))

    def test_bad_arguments_are_errors(self):
        for arguments in ([], ["page"], ["draw", self.directory], ["measure", self.directory, "nothing"]):
            run = self.run_tool(*arguments)
            self.assertNotEqual(run.returncode, 0, arguments)
            self.assertIn("tools/benchmarks measure DIR", run.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
