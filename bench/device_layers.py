"""Structured layers in PyTorch on a GPU, in several ways, for `tenon bench chain --device cuda`, which starts this.

Reads lines: a layer as JSON, with structure (btt, kronecker or low-rank), rows, block, rank and backward, which is answered by "ready"
and the version; then "way calls", answered by the seconds that so many calls took. What fails is answered by "error" and why. Each way
is a CUDA graph over several inputs, which together do not stay in the cache.
"""
import json
import sys
import time

INPUTS = 4


def ways(torch, spec):
    """Functions of an input's number; they return what is computed."""
    N, B, R = spec["rows"], spec["block"], spec["rank"]
    half = {"device": "cuda", "dtype": torch.bfloat16}
    x = [torch.randn(N, B * B, **half) for _ in range(INPUTS)]
    dy = [torch.randn(N, B * B, **half) for _ in range(INPUTS)]
    backward = spec["backward"]

    def with_gradients(layer, *parameters):
        if not backward:
            return lambda i: layer(x[i], *parameters)
        leaves = [p.detach().requires_grad_() for p in parameters]

        def run(i):
            at = x[i].detach().requires_grad_()
            y = layer(at, *leaves)
            return y, torch.autograd.grad(y, [at, *leaves], dy[i])

        return run

    def dense():
        w = torch.randn(B * B, B * B, **half) / B
        return with_gradients(lambda x, w: x @ w.T, w)

    def btt():
        a = torch.randn(B, B, B * R, **half) / B**0.5  # group, input, (group of the other, rank)
        b = torch.randn(B, B * R, B, **half) / (B * R) ** 0.5  # group, (group of the other, rank), output

        def natural(x, a, b):
            z = torch.bmm(x.view(N, B, B).transpose(0, 1), a).view(B, N, B, R)
            return torch.bmm(z.permute(2, 1, 0, 3).reshape(B, N, B * R), b).transpose(0, 1).reshape(N, B * B)

        def contiguous(x, a, b):
            z = torch.bmm(x.view(N, B, B).transpose(0, 1), a).view(B, N, B, R)
            y = torch.bmm(z.permute(2, 1, 0, 3).contiguous().view(B, N, B * R), b)
            return y.transpose(0, 1).contiguous().view(N, B * B)

        def in_place(x, a, b):
            """The second product reads the first one's result, which has the rows last, where it lies."""
            at = a.view(B, B, B, R).transpose(2, 3).reshape(B, B, B * R).transpose(1, 2)
            z = torch.bmm(at, x.view(N, B, B).permute(1, 2, 0))
            return torch.bmm(z.view(B * R, B, N).permute(1, 2, 0), b).transpose(0, 1).reshape(N, B * B)

        def einsum(x, a, b):
            z = torch.einsum("ngp,gpfr->nfgr", x.view(N, B, B), a.view(B, B, B, R))
            return torch.einsum("nfgr,fgrq->nfq", z, b.view(B, B, R, B)).reshape(N, B * B)

        def strided():
            """Two products forward, four backward, all on strides that cuBLAS takes: an expert's."""
            at = a.view(B, B, B, R).transpose(2, 3).reshape(B, B, B * R).transpose(1, 2).contiguous()
            z, dz = (torch.empty(B, B * R, N, **half) for _ in range(2))
            y, dx = (torch.empty(N, B, B, **half) for _ in range(2))
            da, db = (torch.empty(B, B * R, B, **half) for _ in range(2))

            def run(i):
                xi, dyi = x[i].view(N, B, B), dy[i].view(N, B, B)
                torch.bmm(at, xi.permute(1, 2, 0), out=z)
                torch.bmm(z.view(B * R, B, N).permute(1, 2, 0), b, out=y.transpose(0, 1))
                if not backward:
                    return
                torch.bmm(b, dyi.permute(1, 2, 0), out=dz.view(B * R, B, N).transpose(0, 1))
                torch.bmm(dz.transpose(1, 2), at, out=dx.transpose(0, 1))
                torch.bmm(dz, xi.transpose(0, 1), out=da)
                torch.bmm(z.view(B * R, B, N).transpose(0, 1), dyi.transpose(0, 1), out=db)

            return run

        forms = {"natural": natural, "contiguous": contiguous, "einsum": einsum, "in-place": in_place}
        return forms, strided, (a, b)

    def kronecker():
        """Y = A X B^T, with x's row as a square X."""
        a, b = (torch.randn(B, B, **half) / B**0.5 for _ in range(2))

        def natural(x, a, b):
            return (a @ x.view(N, B, B) @ b.T).reshape(N, B * B)

        def einsum(x, a, b):
            return torch.einsum("fg,ngp,qp->nfq", a, x.view(N, B, B), b).reshape(N, B * B)

        def strided():
            z, y, dz, dx = (torch.empty(N, B, B, **half) for _ in range(4))

            def run(i):
                xi, dyi = x[i].view(N, B, B), dy[i].view(N, B, B)
                torch.mm(xi.view(N * B, B), b.T, out=z.view(N * B, B))
                torch.matmul(a, z, out=y)
                if not backward:
                    return
                torch.matmul(a.T, dyi, out=dz)
                torch.mm(dz.view(N * B, B), b, out=dx.view(N * B, B))
                db = dz.view(N * B, B).T @ xi.view(N * B, B)
                da = dyi.transpose(0, 1).reshape(B, N * B) @ z.transpose(0, 1).reshape(B, N * B).T
                return da, db

            return run

        return {"natural": natural, "einsum": einsum}, strided, (a, b)

    def low_rank():
        u, v = torch.randn(B * B, R, **half) / R**0.5, torch.randn(R, B * B, **half) / B

        def natural(x, u, v):
            return (x @ v.T) @ u.T

        def einsum(x, u, v):
            return torch.einsum("nk,rk,or->no", x, v, u)

        def strided():
            z, dz = (torch.empty(N, R, **half) for _ in range(2))
            y, dx = (torch.empty(N, B * B, **half) for _ in range(2))
            du, dv = torch.empty_like(u), torch.empty_like(v)

            def run(i):
                torch.mm(x[i], v.T, out=z)
                torch.mm(z, u.T, out=y)
                if not backward:
                    return
                torch.mm(dy[i], u, out=dz)
                torch.mm(dz, v, out=dx)
                torch.mm(dz.T, x[i], out=dv)
                torch.mm(dy[i].T, z, out=du)

            return run

        return {"natural": natural, "einsum": einsum}, strided, (u, v)

    forms, strided, parameters = {"btt": btt, "kronecker": kronecker, "low-rank": low_rank}[spec["structure"]]()

    all_ways = {"dense": dense, "strided": strided}
    for name, form in forms.items():
        all_ways[name] = lambda form=form: with_gradients(form, *parameters)
        all_ways[name + "-compiled"] = lambda form=form: with_gradients(torch.compile(form), *parameters)
    return all_ways


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
                torch.compiler.reset()  # what it keeps of another layer's functions
                all_ways.update(ways(torch, json.loads(line)))
                print("ready", torch.__version__, sep="\t", flush=True)
                continue
            way, calls = line.split()
            if way not in all_ways:
                raise ValueError("not written for this layer")
            if way not in graphs:
                run, stream = all_ways[way](), torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    for _ in range(2):
                        for i in range(INPUTS):
                            run(i)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    results = [run(i) for i in range(INPUTS)]  # kept: else each would be written over the one before
                graphs[way] = graph, run, results  # the graph reads tensors that `run` alone keeps
                graph.replay()
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(max(1, int(calls) // INPUTS)):
                graphs[way][0].replay()
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            print(seconds * int(calls) / (max(1, int(calls) // INPUTS) * INPUTS), flush=True)
        except Exception as error:  # out of memory, a form that cannot be captured
            print("error", str(error).split("\n")[0], sep="\t", flush=True)


main()
