"""What the tests of the command share with tools/kill-test: made-up images, and runs of `tenon train`."""

import json
import os
import random
import signal
import struct
import subprocess
import time

SIDE = 28


def write_idx(path, type_code, shape, content):
    with open(path, "wb") as file:
        file.write(struct.pack(">BBBB", 0, 0, type_code, len(shape)))
        file.write(struct.pack(">%dI" % len(shape), *shape))
        file.write(content)


def write_images(directory, train=300, test=60, seed=1):
    """Four files as MNIST's: noise, with a bright band whose place is the label."""
    os.makedirs(directory, exist_ok=True)
    rng = random.Random(seed)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = bytes(rng.randrange(10) for _ in range(count))
        pixels = bytearray(rng.randbytes(count * SIDE * SIDE))
        for i, label in enumerate(labels):
            begin = (i * SIDE + 2 * label) * SIDE
            for p in range(begin, begin + 4 * SIDE):
                pixels[p] = 128 + pixels[p] // 2
        write_idx(os.path.join(directory, prefix + "-images-idx3-ubyte"), 8, (count, SIDE, SIDE), bytes(pixels))
        write_idx(os.path.join(directory, prefix + "-labels-idx1-ubyte"), 8, (count,), labels)
    return directory


def checkpoint_file(directory):
    return os.path.join(directory, "checkpoint.safetensors")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def with_scalar(checkpoint, name, code, value):
    """The checkpoint with another value of a scalar tensor, and without checksums."""
    begin = 8 + struct.unpack_from("<Q", checkpoint)[0]
    header = json.loads(checkpoint[8:begin])
    metadata = header["__metadata__"]
    header["__metadata__"] = {key: text for key, text in metadata.items() if not key.startswith("xxh3")}
    data = bytearray(checkpoint[begin:])
    struct.pack_into(code, data, header[name]["data_offsets"][0], value)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(data)


class KillTest:
    """Runs killed at random moments and resumed, against one that was never stopped."""

    def __init__(self, tenon, data, work, options=()):
        self.command = [tenon, "train", "--data", data, "--width", "64", "--depth", "1", "--epochs", "4", "--batch", "20"]
        self.command += ["--dropout", "0.1", "--checkpoint-every", "2", "--structure", "btt", *options]
        self.work = work
        whole = os.path.join(work, "whole")
        start = time.monotonic()
        subprocess.run(self.command + ["--checkpoint", whole], check=True, stdout=subprocess.DEVNULL)
        self.seconds = time.monotonic() - start
        self.expected = read(checkpoint_file(whole))

    def round(self, name, rng):
        """Kills a run after a random time; where it was killed in its turn is returned: "no checkpoint", "part" or "end"."""
        directory = os.path.join(self.work, name)
        command = self.command + ["--checkpoint", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, self.seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if os.path.exists(checkpoint_file(directory)):
            reached = "end" if read(checkpoint_file(directory)) == self.expected else "part"
        else:
            reached = "no checkpoint"
        subprocess.run(command + ["--resume"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if os.listdir(directory) != ["checkpoint.safetensors"]:
            raise AssertionError("%s holds %s" % (directory, os.listdir(directory)))
        if read(checkpoint_file(directory)) != self.expected:
            raise AssertionError("%s, killed at '%s' and resumed, differs from the run never stopped" % (directory, reached))
        return reached
