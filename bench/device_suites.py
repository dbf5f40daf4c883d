"""Operations of PyTorch on a GPU, for `tenon bench loop|batched|product|attention --device cuda`, which starts this.

Reads lines: a problem as JSON, with inputs (shapes), dtype, classes and python (an expression of x and the way), which is answered by
"ready" and the version; then "way calls", answered by the seconds that so many calls took. What fails is answered by "error" and
why. Each way is a CUDA graph over several inputs, which together do not stay in the cache; but `called` is as Python calls it.
"""
import json
import sys
import time

INPUTS = 4


def functions(torch, spec):
    """By way: a function of an input's number."""
    import torch.nn.functional as F

    torch.backends.cuda.matmul.allow_tf32 = spec["dtype"] == "tf32"
    dtype = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "s8": torch.int8}[spec["dtype"]]

    def inputs():
        if dtype == torch.int8:
            return [torch.randint(-128, 128, shape, device="cuda", dtype=dtype) for shape in spec["inputs"]]
        x = [torch.randn(shape, device="cuda", dtype=dtype) for shape in spec["inputs"]]
        if spec["classes"]:
            x[-1] = torch.randint(0, spec["classes"], spec["inputs"][-1], device="cuda")
        return x

    sets = [inputs() for _ in range(INPUTS)]

    def gradients(f, x, dy):
        leaves = [t.detach().requires_grad_() for t in x]
        return torch.autograd.grad(f(*leaves), leaves, dy)

    def attention(x, way, causal):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        q, k, v = (t.transpose(1, 2) for t in x)
        torch.use_deterministic_algorithms(way.endswith("-deterministic"))
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION if way.startswith("flash") else SDPBackend.CUDNN_ATTENTION):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
        return y.transpose(1, 2)

    names = {"torch": torch, "F": F, "gradients": gradients, "attention": attention}
    f = eval("lambda x, way: " + spec["python"], names)
    if "way" in spec["python"]:
        return {way: lambda i, way=way: f(sets[i], way) for way in ("cudnn", "cudnn-deterministic", "flash", "flash-deterministic")}
    compiled = torch.compile(lambda x: f(x, None))
    run = lambda i: f(sets[i], None)
    return {"eager": run, "called": run, "compiled": lambda i: compiled(sets[i])}


def called(torch, run, calls):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for i in range(calls):
        run(i % INPUTS)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main():
    try:
        import torch
    except ImportError as error:
        print("error", f"{sys.executable}: {error}".replace("\n", " "), sep="\t", flush=True)
        return
    if not torch.cuda.is_available():
        print("error", "PyTorch has no GPU", sep="\t", flush=True)
        return
    all_ways, graphs = {}, {}
    for line in sys.stdin:
        try:
            if line.startswith("{"):
                all_ways.clear()
                graphs.clear()
                torch.cuda.empty_cache()
                all_ways.update(functions(torch, json.loads(line)))
                print("ready", torch.__version__, sep="\t", flush=True)
                continue
            way, calls = line.split()
            if way == "called":
                print(called(torch, all_ways[way], int(calls)), flush=True)
                continue
            if way not in graphs:
                run, stream = all_ways[way], torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    for _ in range(2):
                        for i in range(INPUTS):
                            run(i)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    results = [run(i) for i in range(INPUTS)]  # kept: else each would be written over the one before
                graphs[way] = graph, results
                graph.replay()
                torch.cuda.synchronize()
            repeats = max(1, int(calls) // INPUTS)
            start = time.perf_counter()
            for _ in range(repeats):
                graphs[way][0].replay()
            torch.cuda.synchronize()
            print((time.perf_counter() - start) * int(calls) / (repeats * INPUTS), flush=True)
        except Exception as error:  # out of memory, a form that cannot be captured
            print("error", str(error).split("\n")[0], sep="\t", flush=True)


main()
