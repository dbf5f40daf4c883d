"""Timing of PyTorch's ways on a GPU: the beginning of device_layers.py and device_suites.py, which call `serve` at their end.

Reads lines: a problem as JSON, which is answered by "ready" and the version; then "way calls", answered by the seconds that so many
calls took. What fails is answered by "error" and why. Each way is a CUDA graph over several inputs, which together do not stay in
the cache; but `called` is as Python calls it.
"""
import json
import sys
import time

INPUTS = 4


def seconds(torch, run, calls):
    """Of run(0), ..., run(calls - 1)."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for i in range(calls):
        run(i)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def captured(torch, run):
    """A function that replays run(0), ..., run(INPUTS - 1), and has run once."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            for i in range(INPUTS):
                run(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = [run(i) for i in range(INPUTS)]
    graph.replay()
    torch.cuda.synchronize()
    # The graph reads tensors that only `run` keeps. The results are kept, too: else each would be written over the one before.
    return lambda _, keep=(run, results): graph.replay()


def answer(torch, ways_of, ways, replays, line):
    if line.startswith("{"):
        ways.clear()
        replays.clear()
        torch.cuda.empty_cache()
        torch.compiler.reset()  # drops the compiled functions of the problem before
        ways.update(ways_of(torch, json.loads(line)))
        return "ready\t" + torch.__version__
    way, calls = line.split()[0], int(line.split()[1])
    if way not in ways:
        raise ValueError("not written for this problem")
    if way == "called":
        run = ways[way]()
        return repr(seconds(torch, lambda i: run(i % INPUTS), calls))
    if way not in replays:
        replays[way] = captured(torch, ways[way]())
    count = max(1, calls // INPUTS)
    return repr(seconds(torch, replays[way], count) * calls / (count * INPUTS))


def serve(ways_of):
    """ways_of(torch, problem) gives, by name, functions that make a way: a function of an input's number."""
    try:
        import torch
    except ImportError as error:
        print("error", f"{sys.executable}: {error}".replace("\n", " "), sep="\t", flush=True)
        return
    if not torch.cuda.is_available():
        print("error", "PyTorch has no GPU", sep="\t", flush=True)
        return
    ways, replays = {}, {}
    for line in sys.stdin:
        try:
            print(answer(torch, ways_of, ways, replays, line), flush=True)
        except Exception as error:  # out of memory, a form that cannot be captured
            print("error", str(error).split("\n")[0], sep="\t", flush=True)


