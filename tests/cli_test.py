"""The `tenon` command as a user meets it: errors, rows, reports, checkpoints. Usage: cli_test.py TENON [unittest arguments]"""

import json
import os
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import cli_support  # noqa: E402
from cli_support import checkpoint_file, read, with_scalar, write_idx, write_images  # noqa: E402

TENON = ""
STRUCTURES = ["dense", "low-rank", "kronecker", "tensor-train", "monarch", "btt"]


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.data = write_images(self.path("data"))
        self.work = self.path("work")
        os.mkdir(self.work)

    def path(self, name):
        return os.path.join(self.temporary.name, name)

    def tenon(self, *arguments, environment=None, **keywords):
        return subprocess.run([TENON, *arguments], cwd=self.work, capture_output=True, text=True,
                              env={**os.environ, **(environment or {})}, **keywords)

    def train(self, *arguments, **keywords):
        """A small run that must succeed."""
        small = ["train", "--data", self.data, "--width", "64", "--depth", "1", "--epochs", "2", "--batch", "40"]
        result = self.tenon(*small, *arguments, **keywords)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def refuse(self, phrase, *arguments, left=(), **keywords):
        """One line on stderr that holds the phrase, status 2, and nothing left behind."""
        result = self.tenon(*arguments, **keywords)
        self.assertEqual(result.returncode, 2, (arguments, result.stderr))
        self.assertEqual(result.stdout, "", arguments)
        self.assertRegex(result.stderr, r"\Atenon: [^\n]+\n\Z")
        self.assertIn(phrase, result.stderr, arguments)
        self.assertEqual(sorted(os.listdir(self.work)), sorted(left), arguments)


class Arguments(CommandTest):
    def test_refused(self):
        for phrase, *arguments in [
            ("no command",),
            ("frobnicate", "frobnicate"),
            ("--frobnicate", "train", "--frobnicate"),
            ("--structure spam", "train", "--structure", "spam"),
            ("--structure ", "train", "--structure", "dense,"),
            ("--model cnn", "train", "--model", "cnn"),
            ("--width 0", "train", "--width", "0"),
            ("--width -3", "train", "--width", "-3"),
            ("--width 12x", "train", "--width", "12x"),
            ("--width 99999999999999999999", "train", "--width", "99999999999999999999"),
            ("--width 2,3,4", "train", "--structure", "dense,btt", "--width", "2,3,4"),
            ("comes twice", "train", "--structure", "btt,btt"),
            ("--rank 0", "train", "--structure", "btt", "--rank", "0"),
            ("--rank 0", "train", "--structure", "dense", "--rank", "0"),
            ("--blocks 0", "train", "--structure", "monarch", "--blocks", "0"),
            ("--depth 0", "train", "--depth", "0"),
            ("--epochs 0", "train", "--epochs", "0"),
            ("--epochs", "train", "--epochs", "many"),
            ("--batch 0", "train", "--batch", "0"),
            ("--lr -0.1", "train", "--lr", "-0.1"),
            ("--lr 0", "train", "--lr", "0"),
            ("--lr nan", "train", "--lr", "nan"),
            ("--weight-decay -1", "train", "--weight-decay", "-1"),
            ("--warmup 1", "train", "--warmup", "1"),
            ("--clip -1", "train", "--clip", "-1"),
            ("--dropout 1", "train", "--dropout", "1"),
            ("--precision fp8", "train", "--precision", "fp8"),
            ("--device tpu", "train", "--device", "tpu"),
            ("--device cuda:63", "train", "--device", "cuda:63"),
            ("--seed -1: not a whole number from 0 to 2^63 - 1", "train", "--seed", "-1"),
            ("--seed 18446744073709551616: not", "train", "--seed", "18446744073709551616"),
            ("--threads -1", "train", "--threads", "-1"),
            ("--threads 0", "train", "--threads", "0"),
            ("--threads 5000: not from 1 to 4,096", "train", "--threads", "5000"),
            ("--checkpoint-every 0", "train", "--checkpoint-every", "0"),
            ("--checkpoint=: no value", "train", "--checkpoint=", "--epochs", "1"),
            ("--shapes=: no value", "explain", "--shapes=", "--json"),
            ("--threads 0: not from 1 to 4096", "explain", "--shapes", "8x8x8", "--threads", "0"),
            ("--resume", "train", "--resume"),
        ]:
            with self.subTest(arguments=arguments):
                rest = ("--checkpoint", "ck", "--report", "r.html") if arguments[-1:] not in (["--resume"], []) else ()
                self.refuse(phrase, *arguments, *(rest if "train" in arguments else ()))

    def test_bytes_of_files_in_errors(self):
        with open(self.path("shapes"), "wb") as file:
            file.write(b"2x3x\x1b[31m4")
        self.refuse("--shapes 2x3x?[31m4: not like", "explain", "--shapes", "@" + self.path("shapes"))

    def test_refused_with_the_data(self):
        for phrase, *arguments in [
            ("--width 16777216", "--width", "16777216"),
            ("--width 16777216", "--structure", "kronecker", "--width", "16777216"),
            ("--depth 16777216", "--depth", "16777216"),
            ("--depth 16777216", "--depth", "16777216", "--width", "1"),
            ("--width 16777216", "--structure", "btt", "--width", "16777216", "--rank", "16777216"),
            ("--width 2", "--structure", "monarch", "--width", "2"),
            ("--report none/r.html", "--report", "none/r.html"),
            ("--report .", "--report", "."),
        ]:
            with self.subTest(arguments=arguments):
                self.refuse(phrase, "train", "--data", self.data, "--checkpoint", "ck", *arguments)

    def test_precision(self):
        rows = [json.loads(line) for line in self.train("--json", "--precision", "bf16").stdout.splitlines()]
        self.assertEqual((rows[0]["device"], rows[0]["precision"]), ("cpu", "bf16"))
        self.assertTrue(0 < rows[1]["train_loss"] < rows[0]["train_loss"], rows)

    def test_environment(self):
        for name, value in (("TENON_ISA", "sse9"), ("TENON_NUM_THREADS", "abc")):
            self.refuse("%s=%s: " % (name, value), "train", "--data", self.data, environment={name: value})
        result = self.tenon("train", "--data", self.data, environment={"TENON_NUM_THREADS": "abc"})
        self.assertTrue(result.stderr.startswith("tenon: TENON_NUM_THREADS"), result.stderr)
        self.assertNotIn("_ZN", result.stderr)

    def test_full_standard_output(self):
        for arguments in (["info"], ["info", "--json"], ["--help"], ["train", "--data", self.data, "--epochs", "1"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run([TENON, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertEqual(result.stderr, "tenon: standard output could not be written\n")

    def test_help(self):
        self.assertEqual(self.tenon("--version").returncode, 0)
        for command in ([], ["info"], ["train"], ["bench"], ["tune"], ["explain"]):
            result = self.tenon(*command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertNotIn("{", result.stdout)  # as CLI11 shows a flag that is false by its name
        train = self.tenon("train", "--help").stdout
        self.assertIn("--checkpoint-every", train)
        for structure in STRUCTURES:
            self.assertIn(structure, train)
        for key in json.loads(self.train("--json").stdout.splitlines()[0]):
            self.assertRegex(train, r"(?s)With --json .*\b" + key + r"\b")


class BadData(CommandTest):
    def check(self, phrase):
        self.refuse(phrase, "train", "--data", self.data, "--checkpoint", "ck", "--report", "r.html")

    def file(self, name):
        return os.path.join(self.data, name)

    def test_missing_directory(self):
        self.data = self.path("nowhere")
        self.check("nowhere")

    def test_missing_file(self):
        os.remove(self.file("t10k-labels-idx1-ubyte"))
        self.check("t10k-labels-idx1-ubyte")

    def test_truncated(self):
        images = self.file("train-images-idx3-ubyte")
        for size in (0, 3, 15, 1000, os.path.getsize(images) - 1):
            os.truncate(images, size)
            self.check("train-images-idx3-ubyte")

    def test_wrong_magic(self):
        images = self.file("train-images-idx3-ubyte")
        content = read(images)
        with open(images, "wb") as file:
            file.write(b"\x01" + content[1:])
        self.check("train-images-idx3-ubyte")

    def test_label_out_of_range(self):
        write_idx(self.file("t10k-labels-idx1-ubyte"), 8, (60,), bytes([3] * 59 + [10]))
        self.check("label 10")

    def test_labels_for_other_images(self):
        write_idx(self.file("train-labels-idx1-ubyte"), 8, (299,), bytes(299))
        self.check("299 labels")

    def test_no_images(self):
        write_idx(self.file("train-images-idx3-ubyte"), 8, (0, 28, 28), b"")
        write_idx(self.file("train-labels-idx1-ubyte"), 8, (0,), b"")
        self.check("train-images-idx3-ubyte")


NOBODY = 65534


class Files(CommandTest):
    """Paths that cannot be written are found before training, and what is there is left alone."""

    def refuse_files(self, phrase, *arguments, left=(), **keywords):
        self.refuse(phrase, "train", "--data", self.data, "--width", "32", *arguments, left=left, **keywords)

    def unprivileged(self):
        """Keywords for a process that permissions bind."""
        if os.geteuid() != 0:
            return {}
        os.chmod(self.temporary.name, 0o755)
        try:
            self.assertEqual(self.tenon("--version", user=NOBODY).returncode, 0)
        except PermissionError:
            self.skipTest("the program is not readable by others")
        return {"user": NOBODY}

    def test_names_too_long(self):
        for option in ("--report", "--checkpoint"):
            for name in ("x" * 300, "x" * 300 + "/y"):
                self.refuse_files(option + " x", option, name)
        self.refuse_files("--report x", "--report", "x" * 253)

    def test_unwritable_and_unsearchable(self):
        user = self.unprivileged()
        for mode in (0o555, 0o000):
            directory = os.path.join(self.work, "closed")
            os.mkdir(directory)
            os.chmod(directory, mode)
            if user:
                os.chown(directory, NOBODY, NOBODY)
            for option in ("--report", "--checkpoint"):
                for path in ("closed/new", "closed/new/er") if option == "--checkpoint" else ("closed/r.html",):
                    self.refuse_files("%s %s" % (option, path), option, path, left=["closed"], **user)
            self.refuse_files("--checkpoint closed", "--checkpoint", "closed", left=["closed"], **user)
            os.chmod(directory, 0o755)
            os.rmdir(directory)

    def test_unsearchable_data(self):
        user = self.unprivileged()
        os.chmod(self.data, 0)
        if user:
            os.chown(self.data, NOBODY, NOBODY)
        self.refuse("Permission denied", "train", "--data", self.data, **user)
        self.refuse("Permission denied", "train", environment={"TENON_FASHION_MNIST": self.data + "/sub"}, **user)
        os.chmod(self.data, 0o755)

    def test_report_replaces_regular_files_only(self):
        os.mkfifo(os.path.join(self.work, "fifo"))
        os.symlink("fifo", os.path.join(self.work, "link"))
        for path in ("fifo", "link"):
            self.refuse_files("--report " + path, "--report", path, left=["fifo", "link"])

    def test_report_through_a_symlink(self):
        os.mkdir(os.path.join(self.work, "pages"))
        for name in ("old", "new"):
            os.symlink(os.path.join("pages", name), os.path.join(self.work, name))
        for name in ("pages/old", "new.tmp", "pages/new.tmp"):
            with open(os.path.join(self.work, name), "w") as file:
                file.write("mine")
        for name in ("old", "new"):
            self.train("--report", name)
            self.assertTrue(os.path.islink(os.path.join(self.work, name)))
            self.assertIn(b"</html>", read(os.path.join(self.work, "pages", name)))
        self.assertEqual(sorted(os.listdir(os.path.join(self.work, "pages"))), ["new", "new.tmp", "old"])
        self.assertEqual(read(os.path.join(self.work, "pages", "new.tmp")), b"mine")
        self.assertEqual(read(os.path.join(self.work, "new.tmp")), b"mine")


class Rows(CommandTest):
    def test_every_structure(self):
        for structure in STRUCTURES:
            with self.subTest(structure=structure):
                lines = self.train("--structure", structure, "--json", "--rank", "2").stdout.splitlines()
                rows = [json.loads(line) for line in lines]
                self.assertEqual([row["epoch"] for row in rows], [1, 2])
                for row in rows:
                    self.assertEqual(row["structure"], structure)
                    self.assertEqual("rank" in row, structure in ("low-rank", "tensor-train", "btt"))
                    self.assertTrue(0 <= row["test_accuracy"] <= 1 and 0 <= row["train_accuracy"] <= 1)
                    self.assertTrue(row["test_loss"] > 0 and row["train_loss"] > 0 and row["seconds"] > 0)
                    self.assertTrue(row["parameters"] > 0 and row["multiply_adds"] > 0)

    def test_divergence(self):
        for options in (["--lr", "1e30", "--batch", "10"], ["--lr", "1e30", "--structure", "dense,btt", "--width", "32"]):
            result = self.tenon("train", "--data", self.data, "--checkpoint", "ck/run", *options)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertRegex(result.stderr, r"\Atenon: step [1-9]\d*: the loss is (nan|inf); a lower --lr than 1e\+30 may help\n\Z")
            self.assertEqual(os.listdir(self.work), [])

    def test_it_learns(self):
        row = json.loads(self.train("--epochs", "12", "--json").stdout.splitlines()[-1])
        self.assertGreater(row["test_accuracy"], 0.8)

    def test_table(self):
        result = self.train("--structure", "dense,btt", "--width", "32,64")
        self.assertEqual(result.stderr, "")
        self.assertEqual(len(re.findall(r"(?m)^ +[12] .* %", result.stdout)), 4)
        last = result.stdout.splitlines()[-2:]
        self.assertTrue(last[0].startswith("dense") and last[1].startswith("btt"), result.stdout)

    def test_progress_on_a_terminal(self):
        leader, terminal = pty.openpty()
        process = subprocess.Popen([TENON, "train", "--data", self.data, "--width", "64", "--epochs", "20"],
                                   stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(leader, 4096):
                shown += chunk
        except OSError:  # the terminal's other end is closed
            pass
        os.close(leader)
        self.assertEqual(process.wait(), 0)
        for word in (b"images/s", b"loss", b" left", b"epoch "):
            self.assertIn(word, shown)

    def test_report(self):
        self.train("--structure", "dense,btt", "--report", "report.html")
        with open(os.path.join(self.work, "report.html"), encoding="utf-8") as file:
            page = file.read()
        self.assertEqual(os.listdir(self.work), ["report.html"])
        for outside in ("http:", "https:", "src=", "href=", "url(", "@import", "<script"):
            self.assertNotIn(outside, page)
        for part in ("<svg", "Loss", "Accuracy", "Parameters", "Multiply-adds", "contract", "weight-decay", "btt, width 64"):
            self.assertIn(part, page)
        self.assertEqual(page.count("<svg"), page.count("</svg>"))

    def test_info(self):
        machine = json.loads(self.tenon("info", "--json").stdout)
        self.assertIn(machine["instruction_set"], machine["instruction_sets"])
        self.assertEqual(machine["arithmetic_classes"]["portable"], "available")
        self.assertTrue(all(peak["float32"] > 0 and peak["float64"] > 0 for peak in machine["peak_flops"]))
        self.assertEqual(machine["cache_bytes"], sorted(machine["cache_bytes"]))
        self.assertEqual(len(machine["cache_bytes"]), 3)
        self.assertEqual(machine["gpu"], bool(machine["gpus"]))
        self.assertEqual(machine["gpu"], not machine["gpu_reason"])


class Checkpoints(CommandTest):
    def bytes_of(self, directory, *arguments, **keywords):
        self.train("--checkpoint", directory, "--dropout", "0.1", *arguments, **keywords)
        self.assertEqual(os.listdir(os.path.join(self.work, directory)), ["checkpoint.safetensors"])
        return read(checkpoint_file(os.path.join(self.work, directory)))

    def test_same_bytes(self):
        sets = json.loads(self.tenon("info", "--json").stdout)["instruction_sets"]
        for structure in ("dense", "btt"):
            first = self.bytes_of(structure, "--structure", structure, "--threads", "1")
            self.assertEqual(first, self.bytes_of(structure + "2", "--structure", structure, "--threads", "2"))
            for isa in sets:
                other = self.bytes_of(structure + isa, "--structure", structure, environment={"TENON_ISA": isa})
                self.assertEqual(first, other, isa)
            self.assertNotEqual(first, self.bytes_of(structure + "s", "--structure", structure, "--seed", "2"))

    def test_report_and_rows_leave_no_trace(self):
        self.assertEqual(self.bytes_of("a"), self.bytes_of("b", "--json", "--report", "r.html", "--checkpoint-every", "1"))

    def test_killed_and_resumed(self):
        test = cli_support.KillTest(TENON, self.data, self.path("work"))
        for i in range(6):
            test.round("run%d" % i, random.Random(i))

    def stopped(self, signal_number, *arguments):
        """A run stopped by a signal in its first epochs."""
        process = subprocess.Popen([TENON, "train", "--data", self.data, "--width", "64", "--batch", "40", "--depth", "1",
                                    "--epochs", "60", *arguments],
                                   cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal_number)
        return process, process.communicate()[1]

    def test_interrupted(self):
        whole = self.bytes_of("whole", "--epochs", "60", "--dropout", "0")
        for number in (signal.SIGINT, signal.SIGTERM):
            process, errors = self.stopped(number, "--checkpoint", "stopped")
            self.assertEqual(process.returncode, 130, errors)
            self.assertIn("stopped/checkpoint.safetensors", errors)
            resume = re.search(r"to go on: (.* --resume)$", errors.strip())
            self.assertTrue(resume, errors)
            command = shlex.split(resume.group(1))
            self.assertEqual(command[0], TENON)
            part = os.path.join(self.work, "stopped")
            self.assertNotEqual(read(checkpoint_file(part)), whole)
            result = subprocess.run(command, cwd=self.work, capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(len(re.findall(r"(?m)^ +\d+ .* %", result.stdout)), 60)
            self.assertEqual(read(checkpoint_file(part)), whole)
            os.remove(checkpoint_file(part))

    def test_interrupted_without_checkpoint(self):
        process, errors = self.stopped(signal.SIGINT)
        self.assertEqual(process.returncode, 130)
        self.assertIn("no --checkpoint", errors)
        self.assertEqual(os.listdir(self.work), [])

    def test_several_runs_resume(self):
        options = ["--structure", "dense,btt", "--width", "32,64", "--checkpoint", "ck"]
        self.train(*options)
        for label in ("dense-32", "btt-64"):
            self.assertEqual(os.listdir(os.path.join(self.work, "ck", label)), ["checkpoint.safetensors"])
        btt = checkpoint_file(os.path.join(self.work, "ck", "btt-64"))
        whole = read(btt)
        os.remove(btt)
        self.train(*options, "--resume")
        self.assertEqual(read(btt), whole)

    def test_resume_refused(self):
        options = ["train", "--data", self.data, "--width", "64", "--depth", "1", "--epochs", "2", "--batch", "40"]
        options += ["--checkpoint", "ck"]
        self.assertEqual(self.tenon(*options).returncode, 0)
        path = checkpoint_file(os.path.join(self.work, "ck"))
        whole = read(path)
        self.refuse("exists", *options, left=["ck"])
        for phrase, *other in [
            ("--lr 0.003, not --lr 0.004", "--lr", "0.004"),
            ("--structure dense, not --structure btt", "--structure", "btt"),
            ("--epochs 2, not --epochs 3", "--epochs", "3"),
            ("--seed", "--seed", "3"),
            ("--depth", "--depth", "2"),
            ("without --precision, not --precision bf16", "--precision", "bf16"),
        ]:
            changed = [*options, *other, "--resume"]
            self.refuse(phrase, *changed, left=["ck"])
        self.refuse("other --data", *options, "--data", write_images(self.path("other"), seed=2), "--resume", left=["ck"])
        for content in (b"", b"spam", whole[:1000], whole[:-1], whole[:-40] + b"x" + whole[-39:], b"\xff" * 100):
            with open(path, "wb") as file:
                file.write(content)
            self.refuse("checkpoint.safetensors", *options, "--resume", left=["ck"])
            self.assertEqual(read(path), content)

    def test_resume_refuses_what_cannot_be(self):
        options = ["train", "--data", self.data, "--width", "64", "--depth", "1", "--epochs", "2", "--batch", "40"]
        options += ["--checkpoint", "ck", "--resume"]
        self.assertEqual(self.tenon(*options).returncode, 0)
        path = checkpoint_file(os.path.join(self.work, "ck"))
        whole = read(path)
        for name, code, *values in [
            ("optimizer.step", "<q", 2**62, -1, 2**63 - 1, 15),
            ("run.step", "<q", 2**62, -1, 2**63 - 1, 15),
            ("run.correct", "<q", -1, 1, 2**63 - 1),
            ("run.seen", "<q", -1, 1),
            ("run.loss_sum", "<d", float("nan"), float("inf")),
        ]:
            for value in values:
                with open(path, "wb") as file:
                    file.write(with_scalar(whole, name, code, value))
                self.refuse("ck/checkpoint.safetensors: ", *options, left=["ck"])
        with open(path, "wb") as file:
            file.write(with_scalar(whole, "run.correct", "<q", 0))
        self.assertEqual(self.tenon(*options).returncode, 0)

    def test_unwritable(self):
        with open(os.path.join(self.work, "file"), "w"):
            pass
        for directory in ("file", "file/below"):
            self.refuse("--checkpoint", "train", "--data", self.data, "--checkpoint", directory, left=["file"])


if __name__ == "__main__":
    TENON = os.path.realpath(sys.argv.pop(1))
    unittest.main()
