"""`tenon bench` as a user meets it. Short, without peers, and no time is judged. Usage: bench_test.py TENON [unittest arguments]"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TENON = ""
KEYS = {"suite", "problem", "dtype", "threads", "library", "seconds_median", "gflops", "percent_of_peak",
        "percent_of_roofline"}
SHORT = ["--peers", "none", "--threads", "1", "--seconds", "0.02"]


class BenchTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.work = temporary.name

    def bench(self, *arguments):
        return subprocess.run([TENON, "bench", *arguments], cwd=self.work, capture_output=True, text=True)

    def rows(self, *arguments):
        result = self.bench(*arguments, *SHORT, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        return json.loads(result.stdout)

    def run_tenon(self, *arguments, **environment):
        return subprocess.run([TENON, *arguments], cwd=self.work, capture_output=True, text=True,
                              env={**os.environ, **environment})

    def test_a_device_that_is_not_there_is_said_and_nothing_else(self):
        for suite in ("chain", "loop", "batched", "product", "train"):
            result = self.run_tenon("bench", suite, "--device", "cuda", CUDA_VISIBLE_DEVICES="")
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(result.stdout, "", suite)
            self.assertIn("CUDA", result.stderr, suite)
        result = self.run_tenon("bench", "chain", "--device", "cuda", "--routines", "btt-r3")
        self.assertIn("btt-r4", result.stderr)

    @staticmethod
    def content(path):
        with open(path) as file:
            return file.read()

    def test_layers_are_timed_as_chains_and_unfused(self):
        rows = self.rows("chain", "--shapes", "16x64x64,5x36x36", "--dtype", "f32,bf16")
        self.assertEqual(len(rows), 2 * (7 + 3) * 2)
        self.assertEqual({row["library"] for row in rows}, {"tenon", "unfused"})
        layers = {"monarch", "btt-r2", "kronecker"}
        self.assertEqual({row["problem"].split()[0] for row in rows if row["dtype"] == "bf16"}, layers)
        self.assertEqual({row["problem"].split()[0] for row in rows if row["dtype"] == "f32"},
                         layers | {name + "-backward" for name in layers | {"low-rank-64"}})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)
            self.assertGreater(row["gflops"], 0)

    def test_layers_and_attention_are_chosen_by_name(self):
        rows = self.rows("chain", "--shapes", "8x64x64", "--dtype", "f32", "--routines", "kronecker,btt-r2-backward")
        self.assertEqual({row["problem"].split()[0] for row in rows}, {"kronecker", "btt-r2-backward"})
        rows = self.rows("attention", "--shapes", "2x(8x8x8)", "--dtype", "f64", "--routines", "causal")
        self.assertEqual({row["problem"].split()[0] for row in rows}, {"causal"})

    def test_loops_are_timed_beside_loops_by_hand(self):
        rows = self.rows("loop")
        self.assertEqual(len(rows), 4 * 2 * 3)
        self.assertEqual({row["library"] for row in rows}, {"tenon", "tenon compiled", "by hand"})
        self.assertEqual({row["where"] for row in rows}, {"L2", "memory"})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)
            self.assertGreater(row["percent_of_roofline"], 0)
        self.assertNotEqual(self.bench("loop", "--shapes", "2x3x4").returncode, 0)

    def test_batches_of_small_matrices_are_factored(self):
        rows = self.rows("small-factorizations")
        self.assertEqual({row["problem"].split()[0] for row in rows}, {"cholesky", "lu", "qr", "eigh", "svd"})
        self.assertEqual(len(rows), 5 * 3 * 2)
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)
            self.assertEqual(row["batch"], 1024)
            self.assertGreater(row["gflops"], 0)
        self.assertNotEqual(self.bench("small-factorizations", "--shapes", "2x3x4").returncode, 0)

    def test_training_steps_are_timed(self):
        shapes = "residual-mlp:16x4,residual-mlp-btt:16x4,transformer:1x64x8x2"
        rows = self.rows("train", "--shapes", shapes)
        ways = ("tenon", "tenon compiled")
        self.assertEqual([(row["problem"].split()[0], row["library"]) for row in rows],
                         [(s.split(":")[0], way) for s in shapes.split(",") for way in ways])
        for row in rows:
            self.assertLessEqual(KEYS | {"memory_bytes", "percent_outside_kernels"}, row.keys())
            self.assertNotIn("error", row)
            self.assertGreater(row["seconds_median"], 0)
        for wrong in ("mlp:1x1", "residual-mlp:16", "transformer:1x65x8x2", "residual-mlp:0x1"):
            self.assertNotEqual(self.bench("train", "--shapes", wrong).returncode, 0)

    def test_a_peer_that_cannot_train_says_why(self):
        result = self.run_tenon("bench", "train", "--shapes", "residual-mlp:16x4", "--threads", "1", "--seconds", "0.02",
                                "--json", TENON_PEERS_PYTHON="/there/is/no/python")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        rows = json.loads(result.stdout)
        self.assertEqual([row["library"] for row in rows], ["tenon", "tenon compiled", "pytorch", "jax"])
        for row in rows[2:]:
            self.assertIn("/there/is/no/python", row["error"])
            self.assertIsNone(row["seconds_median"])

    def test_attention_is_timed_in_one_pass_and_composed(self):
        rows = self.rows("attention", "--shapes", "2x(20x33x8)", "--dtype", "f32,bf16,f64")
        kinds = [(row["problem"].split()[0], row["dtype"], row["library"]) for row in rows]
        self.assertEqual(len(rows), 3 * 4 + 2 * 2)
        self.assertEqual({kind for kind in kinds if kind[2] == "unfused"},
                         {(name, t, "unfused") for name in ("attention", "causal") for t in ("f32", "bf16")})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertGreater(row["gflops"], 0)

    def test_linear_layers_are_timed_with_the_epilogue_and_apart(self):
        rows = self.rows("linear", "--shapes", "5x70x33,1x16x8")
        names, types, ways = ("bias", "relu", "gelu", "gelu-tanh", "silu"), ("f32", "bf16", "u8s8"), ("tenon", "unfused", "product")
        self.assertEqual(len(rows), 2 * len(names) * len(types) * 2 * len(ways))
        self.assertEqual({(row["problem"].split()[0], row["dtype"], row["library"]) for row in rows},
                         {(name, t, way) for name in names for t in types for way in ways})
        self.assertEqual({row["problem"].split()[-1] for row in rows}, {"plain", "packed"})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)  # each result was compared with float64
            self.assertGreater(row["gflops"], 0)
        rows = self.rows("linear", "--shapes", "4x8x8", "--dtype", "f32", "--routines", "silu", "--weights", "plain")
        self.assertEqual([row["problem"] for row in rows], ["silu 4x8x8 plain"] * 3)

    def test_routines_of_blas_are_called_through_the_library(self):
        rows = self.rows("blas", "--shapes", "33x33x33,40x1x40,20x30x1")
        self.assertEqual(len(rows), 2 * (9 + 4 + 1))
        self.assertEqual({row["library"] for row in rows}, {"tenon"})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)
            self.assertGreater(row["gflops"], 0)
        self.assertNotEqual(self.bench("blas", "--shapes", "2x3x4", "--dtype", "bf16").returncode, 0)

    def test_routines_of_lapack_are_called_through_the_library(self):
        if not os.path.exists(os.path.join(os.path.dirname(TENON), "libtenon_lapack.so")):
            self.skipTest("built without LAPACK")
        rows = self.rows("lapack", "--shapes", "33x1x33,40x1x20")
        self.assertEqual(len(rows), 2 * (6 + 3))
        self.assertEqual({row["library"] for row in rows}, {"tenon"})
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertNotIn("error", row)
            self.assertGreater(row["gflops"], 0)
        rows = self.rows("lapack", "--shapes", "33x1x33", "--routines", "potrf", "--dtype", "f64")
        self.assertEqual([row["problem"] for row in rows], ["potrf 33x33"])
        self.assertNotEqual(self.bench("lapack", "--shapes", "33x1x33", "--routines", "gemm").returncode, 0)

    def test_the_program_has_no_environment_of_its_own(self):
        """Else libraries that prefer their own symbols crash as they read it: MKL's threads do."""
        if not shutil.which("readelf"):
            self.skipTest("no readelf")
        relocations = subprocess.run(["readelf", "--relocs", "--wide", TENON], capture_output=True, text=True, check=True)
        self.assertNotIn("environ", relocations.stdout)

    def test_device_is_cpu_or_cuda_and_of_chains(self):
        for arguments in (["chain", "--device", "tpu"], ["product", "--device", "cuda"],
                          ["chain", "--device", "cuda", "--shapes", "8x1000x1000"],
                          ["train", "--device", "cuda", "--shapes", "transformer:1x64x8x2"],
                          ["three-way", "--shapes", "8x9"]):
            result = self.bench(*arguments)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn("--device" if "--shapes" not in arguments else "--shapes", result.stderr)

    def test_explain(self):
        result = self.run_tenon("explain", "--shapes", "1x300x400,16x16x16", "--dtype", "f32,u8s8", "--threads", "1")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout.count("  > "), 4)
        self.assertEqual(result.stdout.count("declines: "), result.stdout.count("declines"))
        for part in ("240000 operations", "  > sweep", "  > direct", "k is one segment", "GB/s", "% of the roofline",
                     "bound by arithmetic", "operations a byte"):
            self.assertIn(part, result.stdout)
        # What runs and what would do as well have an estimate, others a reason.
        ways = [line for line in result.stdout.splitlines() if line.startswith(("    ", "  > "))]
        self.assertEqual(len(ways), 4 * 8)
        for line in ways:
            self.assertEqual("; about " in line, "declines: " not in line, line)

    def test_explain_as_json_and_drawn(self):
        with open(os.path.join(self.work, "shapes"), "w") as file:
            file.write("# a batch\n3@8x9x10 # and a layer\n\n2x300x400,5x5x5\n")
        for given in ("shapes", "@shapes"):
            result = self.run_tenon("explain", "--shapes", given, "--dtype", "f64,u8s8", "--threads", "1", "--wt", "--json",
                                    "--roofline", "roofline.html")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            ways = json.loads(result.stdout)
            self.assertEqual([way["problem"] for way in ways if way["runs"]],
                             [shape + " wt" for shape in ("3x(8x9x10)", "2x300x400", "5x5x5") for _ in range(2)])
            for way in ways:
                self.assertEqual(way["declines"] is None, way["seconds_estimated"] is not None)
                self.assertGreater(way["roofline_flops"], 0)
                self.assertAlmostEqual(way["operations_per_byte"], way["operations"] / way["bytes"])
            page = self.content(os.path.join(self.work, "roofline.html"))
            for part in ("<svg", " (runs), 2x300x400 wt f64: about", "tenon explain"):
                self.assertIn(part, page)
            for outside in ("http:", "https:", "src=", "href=", "url(", "@import", "<script"):
                self.assertNotIn(outside, page)

    def test_explain_refuses(self):
        with open(os.path.join(self.work, "empty"), "w") as file:
            file.write("# nothing\n")
        for phrase, *arguments in [
            ("--shapes",),
            ("--shapes: empty", "--shapes", ""),
            ("--shapes 3x", "--shapes", "3x"),
            ("--shapes @nowhere", "--shapes", "@nowhere"),
            ("--shapes @.: cannot be read", "--shapes", "@."),
            ("--shapes shapes.txt: cannot be read", "--shapes", "shapes.txt"),
            ("--shapes no/where: cannot be read", "--shapes", "no/where"),
            ("--shapes empty: holds no shape", "--shapes", "empty"),
            ("--dtype f8", "--shapes", "2x2x2", "--dtype", "f8"),
            ("--threads -1", "--shapes", "2x2x2", "--threads", "-1"),
            ("--roofline nowhere/r.html", "--shapes", "2x2x2", "--roofline", "nowhere/r.html"),
        ]:
            with self.subTest(arguments=arguments):
                result = self.run_tenon("explain", *arguments)
                self.assertEqual((result.returncode, result.stdout), (2, ""), result.stderr)
                self.assertRegex(result.stderr, r"\Atenon: [^\n]+\n\Z")
                self.assertIn(phrase, result.stderr)
                self.assertEqual(os.listdir(self.work), ["empty"])

    def test_tune(self):
        kept = os.path.join(self.work, "tuned.json")
        arguments = ["tune", "--shapes", "2x200x3000", "--threads", "1", "--json"]
        result = self.run_tenon(*arguments, "--dry", TENON_TUNING=kept)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(os.path.exists(kept))
        result = self.run_tenon(*arguments, TENON_TUNING=kept)
        ways = json.loads(result.stdout)
        self.assertEqual(sum(way["best"] for way in ways), 1)
        self.assertEqual(sum(way["usual"] for way in ways), 1)
        self.assertLessEqual({"problem", "dtype", "threads", "way", "seconds_warm", "seconds_cold", "seconds_estimated"},
                             ways[0].keys())
        self.assertEqual(json.loads(self.content(kept))["format"], "tenon tuning 2")
        # What was tuned runs from then on, on the machine as it was measured.
        with open(os.path.join(self.work, "shapes"), "w") as file:
            file.write("2x200x3000\n")
        result = self.run_tenon("explain", "--shapes", "shapes", "--threads", "1", "--json", TENON_TUNING=kept)
        best = next(way["way"] for way in ways if way["best"])
        self.assertEqual([way["way"] for way in json.loads(result.stdout) if way["tuned"]], [best.split(",")[0]])
        self.assertEqual(len(json.loads(self.content(kept))["ceilings"]), 1)
        with open(kept, "w") as file:
            file.write("not one of ours")
        result = self.run_tenon(*arguments, TENON_TUNING=kept)
        self.assertEqual(result.returncode, 2)
        self.assertIn(kept, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.content(kept), "not one of ours")

    def test_tune_refuses(self):
        for arguments in (["--shapes", "3x"], [], ["--shapes", "2x2x2", "--dtype", "f8"],
                          ["--shapes", "2x2x2", "--threads", "-1"]):
            result = self.run_tenon("tune", *arguments, "--dry")
            self.assertEqual(result.returncode, 2, arguments)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_rows(self):
        rows = self.rows("small", "--shapes", "4x4x4,5x3x2")
        self.assertEqual([(row["problem"], row["dtype"]) for row in rows],
                         [("4x4x4", "f32"), ("4x4x4", "f64"), ("5x3x2", "f32"), ("5x3x2", "f64")])
        for row in rows:
            self.assertLessEqual(KEYS, row.keys())
            self.assertEqual((row["suite"], row["library"], row["threads"]), ("small", "tenon", 1))
            self.assertGreater(row["seconds_median"], 0)
            self.assertGreaterEqual(row["samples"], 7)
            self.assertNotIn("error", row)

    def test_variants(self):
        rows = self.rows("skinny", "--shapes", "2x9x5", "--dtype", "f32")
        self.assertEqual([row["problem"] for row in rows],
                         ["2x9x5 plain", "2x9x5 packed", "2x9x5 plain wt", "2x9x5 packed wt"])
        rows = self.rows("batched", "--shapes", "3x(2x4x8),3@2x4x8", "--dtype", "f32", "--cold")
        self.assertEqual([row["problem"] for row in rows], ["3x(2x4x8)"] * 2)
        self.assertTrue(all(row["cold"] and row["batch"] == 3 for row in rows))

    def test_shapes_of_a_file(self):
        with open(os.path.join(self.work, "shapes"), "w") as file:
            file.write("# squares\n4x4x4\n\n 3x3x3 # one more\n")
        rows = self.rows("product", "--shapes", "@shapes", "--dtype", "f64", "--weights", "packed")
        self.assertEqual([row["problem"] for row in rows], ["4x4x4 packed", "3x3x3 packed"])

    def test_pages(self):
        result = self.bench("small", "--shapes", "4x4x4", *SHORT, "--report", "report.html", "--roofline", "roofline.html")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("warm", result.stdout)
        self.assertEqual(sorted(os.listdir(self.work)), ["report.html", "roofline.html"])
        for name, parts in (("report.html", ("4x4x4", "<table")), ("roofline.html", ("4x4x4", "<svg"))):
            with open(os.path.join(self.work, name), encoding="utf-8") as file:
                page = file.read()
            for outside in ("http:", "https:", "src=", "href=", "url(", "@import", "<script"):
                self.assertNotIn(outside, page)
            for part in parts:
                self.assertIn(part, page)

    def framework(self, factor):
        """An interpreter that finds a `jax` made here of NumPy: it has no gradients, and products times `factor`."""
        os.makedirs(os.path.join(self.work, "jax"))
        files = {
            "jax/__init__.py": "from . import numpy\n"
                               "__version__ = '0.0'\n"
                               "config = type('Config', (), {'update': lambda self, *name_and_value: None})()\n"
                               "def jit(f): return f\n"
                               "def block_until_ready(x): return x\n",
            "jax/numpy.py": "from numpy import asarray, transpose, float16 as bfloat16\n"
                            "import numpy\n"
                            "def einsum(*xs, preferred_element_type): return numpy.einsum(*xs)\n"
                            f"def matmul(a, b, preferred_element_type): return {factor} * numpy.matmul(a, b)\n",
            "python": f"#!/bin/sh\nPYTHONPATH={self.work} exec {sys.executable} \"$@\"\n",
        }
        for name, text in files.items():
            with open(os.path.join(self.work, name), "w") as file:
                file.write(text)
        os.chmod(os.path.join(self.work, "python"), 0o755)
        return os.path.join(self.work, "python")

    def of_framework(self, python, *arguments):
        result = self.run_tenon("bench", "chain", "--shapes", "6x16x16", "--dtype", "f32,f64", "--peers", "jax", "--threads", "1",
                                "--seconds", "0.01", "--json", *arguments, TENON_PEERS_PYTHON=python)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [row for row in json.loads(result.stdout) if row["library"] == "jax"], result.stderr

    @unittest.skipUnless(importlib.util.find_spec("numpy"), "no NumPy")
    def test_frameworks_compute_layers_in_their_own_process(self):
        rows, message = self.of_framework(self.framework(1))
        self.assertEqual(message, "")
        self.assertEqual(len(rows), 3 * 2 + 4)
        for row in rows:
            self.assertEqual(row["version"], "0.0")
            backward = "-backward" in row["problem"]
            self.assertEqual("error" in row, backward, row)  # this one has no gradients
            self.assertEqual(row["seconds_median"] is None, backward)

    @unittest.skipUnless(importlib.util.find_spec("numpy"), "no NumPy")
    def test_a_frameworks_wrong_layers_are_not_timed(self):
        python = self.framework(2)
        with open(os.path.join(self.work, "jax/numpy.py"), "a") as file:  # so that no form is right
            file.write("def einsum(*xs, preferred_element_type): return 2 * numpy.einsum(*xs)\n")
        rows, _ = self.of_framework(python)
        forward = [row for row in rows if "-backward" not in row["problem"]]
        self.assertEqual(len(forward), 6)
        for row in forward:
            self.assertIn("wrong result", row["error"])

    def test_a_framework_that_is_not_there_is_said(self):
        rows, message = self.of_framework("/bin/false")
        self.assertEqual(rows, [])
        self.assertRegex(message, r"\Atenon: jax: [^\n]+\n\Z")

    def test_refused(self):
        for phrase, *arguments in [
            ("suite",),
            ("bench spam: unknown", "spam"),
            ("--shapes 4x4", "small", "--shapes", "4x4"),
            ("--shapes 4x4x0", "small", "--shapes", "4x4x0"),
            ("--shapes 2x(4x4x4", "batched", "--shapes", "2x(4x4x4"),
            ("--shapes 99999999x1x1", "product", "--shapes", "99999999x1x1"),
            ("2^31", "product", "--shapes", "9999999x9999999x1"),
            ("--shapes @nowhere", "small", "--shapes", "@nowhere"),
            ("--dtype f31", "small", "--dtype", "f31"),
            ("has none", "small", "--dtype", "u8s8"),
            ("has none", "product", "--shapes", "8x8x8", "--routines", "gemm"),
            ("has none", "chain", "--shapes", "8x64x64", "--routines", "btt"),
            ("--weights spam", "product", "--weights", "spam"),
            ("--peers spam", "small", "--peers", "spam"),
            ("--peers jax: unknown", "product", "--peers", "jax"),
            ("--threads 0", "small", "--threads", "0"),
            ("--threads 1,x", "small", "--threads", "1,x"),
            ("--samples 3", "small", "--samples", "3"),
            ("--seconds 0", "small", "--seconds", "0"),
            ("--report nowhere/r.html", "small", "--report", "nowhere/r.html"),
            ("--roofline .", "small", "--roofline", "."),
        ]:
            with self.subTest(arguments=arguments):
                result = self.bench(*arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertEqual(result.stdout, "")
                self.assertRegex(result.stderr, r"\Atenon: [^\n]+\n\Z")
                self.assertIn(phrase, result.stderr)
                self.assertEqual(os.listdir(self.work), [])


class DeviceLoop(unittest.TestCase):
    """bench/device_loop.py beside a `torch` made here, whose graphs count how often they are replayed."""

    TORCH = """
import contextlib, types
__version__ = "0.0"
replays = 0
class CUDAGraph:
    def replay(self):
        global replays
        replays += 1
cuda = types.SimpleNamespace(is_available=lambda: True, synchronize=lambda: None, empty_cache=lambda: None, Stream=object,
                             CUDAGraph=CUDAGraph, stream=lambda stream: contextlib.nullcontext(),
                             graph=lambda graph, stream: contextlib.nullcontext())
compiler = types.SimpleNamespace(reset=lambda: None)
"""
    WAYS = """
calls = []
def ways(torch, spec):
    def way():
        return calls.append
    def broken():
        raise RuntimeError("no memory\\nat all")
    def count():
        raise RuntimeError(f"{len(calls)} calls, {torch.replays} replays")
    return {"way": way, "called": way, "broken": broken, "count": count} if spec["problem"] == 1 else {}
serve(ways)
"""

    def answers(self, *lines, torch=TORCH):
        with tempfile.TemporaryDirectory() as work:
            with open(os.path.join(work, "torch.py"), "w") as file:
                file.write(torch)
            with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/device_loop.py")) as file:
                script = file.read() + self.WAYS
            result = subprocess.run([sys.executable, "-c", script], input="".join(line + "\n" for line in lines), text=True,
                                    capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": work})
        self.assertEqual(result.returncode, 0, result.stderr)
        return [line.split("\t") for line in result.stdout.splitlines()]

    def test_ways_are_replayed_and_called(self):
        ready, way, count, called, after = self.answers('{"problem": 1}', "way 8", "count 1", "called 6", "count 1")
        self.assertEqual(ready, ["ready", "0.0"])
        self.assertGreaterEqual(float(way[0]), 0)
        self.assertEqual(count, ["error", "12 calls, 3 replays"])  # two warm-ups and the capture of 4; one replay and 8 / 4
        self.assertGreaterEqual(float(called[0]), 0)
        self.assertEqual(after, ["error", "18 calls, 3 replays"])

    def test_errors_leave_the_loop_running(self):
        answers = self.answers('{"problem": 1}', "broken 4", "spam 4", "{", '{"problem": 2}', "way 4")
        self.assertEqual([answer[0] for answer in answers], ["ready", "error", "error", "error", "ready", "error"])
        self.assertEqual(answers[1][1], "no memory")
        self.assertEqual(answers[5][1], "not written for this problem")

    def test_a_machine_without_gpu_is_said(self):
        answers = self.answers('{"problem": 1}', torch=self.TORCH.replace("is_available=lambda: True", "is_available=lambda: False"))
        self.assertEqual(answers, [["error", "PyTorch has no GPU"]])


if __name__ == "__main__":
    TENON = os.path.realpath(sys.argv.pop(1))
    unittest.main()
