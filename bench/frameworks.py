"""Structured layers and attention in PyTorch or JAX on the CPU, for `tenon bench chain|attention`, which starts this after
two_factor.py.

Arguments: the library, the number of threads. Writes "ready" and the version, or "error" and why. Then for each line read:
a problem as JSON, answered by "ready" and the form that was the fastest; "run ID CALLS", answered by the seconds that so many calls
took; "fetch ID", after which the results are in the problem's file, answered by "ready"; "drop ID". What fails is answered by
"error" and why.
"""
import functools
import json
import os
import sys
import time

LIBRARY, THREADS = sys.argv[1], int(sys.argv[2])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def shapes_of(spec):
    """Of the operands in the file, in their order, as `Structure` and `AttentionKind` of bench/problem.h say."""
    if spec["kind"] == "attention":
        heads, m, n, d = (spec[key] for key in ("heads", "queries", "keys", "depth"))
        return [(heads, m, d), (heads, n, d), (heads, n, d)]
    rows, alpha, beta, gamma, delta, epsilon, phi, rho = (
        spec[key] for key in ("rows", "alpha", "beta", "gamma", "delta", "epsilon", "phi", "rho")
    )
    cotangent = [(rows, phi, epsilon, delta)] if spec["backward"] else []
    return [(rows, gamma, beta, alpha), *cotangent, (phi, delta, rho, gamma, alpha), (phi, epsilon, rho, gamma, beta)]


def layer_forms(spec, ops):
    """Functions of x, A and B by name: by einsum, and where they are products of matrices, by these."""
    forms = {"einsum": by_einsum}
    if spec["beta"] == spec["delta"] == 1:
        forms.update({"natural": natural, "in place": in_place})
    elif spec["gamma"] == spec["phi"] == spec["rho"] == 1:
        forms["square"] = square
    return {name: functools.partial(form, ops) for name, form in forms.items()}


class Torch:
    def __init__(self):
        import torch

        torch.set_num_threads(THREADS)
        self.torch, self.version = torch, torch.__version__
        self.einsum, self.matmul, self.permute = torch.einsum, torch.matmul, torch.permute

    @staticmethod
    def narrow(z):
        return z  # a product of bfloat16 is of bfloat16 here

    def load(self, path, dtype, shapes):
        torch = self.torch
        of = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}[dtype]
        with open(path, "rb") as file:
            flat = torch.frombuffer(bytearray(file.read()), dtype=of)
        sizes = [torch.Size(shape).numel() for shape in shapes]
        return [part.clone().reshape(shape) for part, shape in zip(flat[: sum(sizes)].split(sizes), shapes)]

    def arranged(self, x):
        """(heads, length, depth) as attention wants it."""
        return x[None]

    def as_given(self, x):
        return x[0]

    def attention(self, q, k, v, causal):
        return self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def callable(self, function, arguments, cotangent):
        """A function without arguments; with a cotangent it gives the gradients, too."""
        if cotangent is None:

            def forward():
                with self.torch.inference_mode():
                    return [function(*arguments)]

            return forward
        leaves, cotangent = [x.detach().requires_grad_() for x in arguments], cotangent.detach()

        def with_gradients():
            y = function(*leaves)
            return [y, *self.torch.autograd.grad(y, leaves, cotangent)]

        return with_gradients

    def wait(self, results):
        return results

    def bytes_of(self, x):
        return x.detach().contiguous().view(self.torch.uint8).numpy().tobytes()


class Jax:
    def __init__(self):
        import jax
        import jax.numpy as jnp
        import numpy

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        self.jax, self.jnp, self.numpy, self.version = jax, jnp, numpy, jax.__version__
        self.permute, self.narrow = jnp.transpose, lambda z: z

    def load(self, path, dtype, shapes):
        numpy = self.numpy
        of = {"f32": numpy.float32, "f64": numpy.float64, "bf16": self.jnp.bfloat16}[dtype]
        flat, begin, parts = numpy.fromfile(path, dtype=of), 0, []
        for shape in shapes:
            end = begin + int(numpy.prod(shape))
            parts.append(self.jnp.asarray(flat[begin:end].reshape(shape)))
            begin = end
        if dtype == "bf16":  # sums and results are of float32, what stands between is rounded
            self.narrow, wide = lambda z: z.astype(self.jnp.bfloat16), self.jnp.float32
        else:
            self.narrow, wide = lambda z: z, of
        self.einsum = lambda *xs: self.jnp.einsum(*xs, preferred_element_type=wide)
        self.matmul = lambda *xs: self.jnp.matmul(*xs, preferred_element_type=wide)
        return parts

    def arranged(self, x):
        """(heads, length, depth) as attention wants it: (batch, length, heads, depth)."""
        return x.swapaxes(0, 1)[None]

    def as_given(self, x):
        return x[0].swapaxes(0, 1)

    def attention(self, q, k, v, causal):
        return self.jax.nn.dot_product_attention(q, k, v, is_causal=causal)

    def callable(self, function, arguments, cotangent):
        if cotangent is None:
            jitted = self.jax.jit(lambda *xs: [function(*xs)])
            return lambda: jitted(*arguments)

        @self.jax.jit
        def jitted(ct, *xs):
            y, back = self.jax.vjp(function, *xs)
            return [y, *back(ct)]

        return lambda: jitted(cotangent, *arguments)

    def wait(self, results):
        return self.jax.block_until_ready(results)

    def bytes_of(self, x):
        return self.numpy.asarray(x).tobytes()


def seconds(library, call, calls):
    start = time.perf_counter()
    for _ in range(calls):
        results = library.wait(call())
    return time.perf_counter() - start, results


def fastest(library, forms, arguments, cotangent):
    """By three calls, after one."""
    best = None
    for name, form in forms.items():
        call = library.callable(form, arguments, cotangent)
        library.wait(call())
        taken = min(seconds(library, call, 1)[0] for _ in range(3))
        if best is None or taken < best[0]:
            best = taken, name, call
    return best[1:]


def prepared(library, spec):
    parts = library.load(spec["file"], spec["dtype"], shapes_of(spec))
    if spec["kind"] == "attention":
        parts = [library.arranged(x) for x in parts]
        forms = {"attention": lambda q, k, v: library.attention(q, k, v, spec["causal"])}
        return fastest(library, forms, parts, parts[0] if spec["backward"] else None)
    cotangent = parts.pop(1) if spec["backward"] else None
    return fastest(library, layer_forms(spec, library), parts, cotangent)


def answer(library, problems, line):
    if line.startswith("{"):
        spec = json.loads(line)
        name, call = prepared(library, spec)
        problems[spec["id"]] = spec, call, None
        return "ready\t" + name
    verb, key, *rest = line.split()
    spec, call, results = problems.pop(int(key))
    if verb == "drop":
        return "ready"
    if verb == "run":
        taken, results = seconds(library, call, int(rest[0]))
    problems[int(key)] = spec, call, results
    if verb == "run":
        return repr(taken)
    if spec["kind"] == "attention":
        results = [library.as_given(results[0])]  # its gradients have no place there
    with open(spec["file"], "wb") as file:
        for x in results:
            file.write(library.bytes_of(x))
    return "ready"


def main():
    try:
        library = {"pytorch": Torch, "jax": Jax}[LIBRARY]()
    except ImportError as error:
        print("error", f"{sys.executable}: {error}".replace("\n", " "), sep="\t", flush=True)
        return
    print("ready", library.version, sep="\t", flush=True)
    problems = {}
    for line in sys.stdin:
        try:
            print(answer(library, problems, line), flush=True)
        except Exception as error:  # out of memory, a form that the library declines
            print("error", str(error).split("\n")[0], sep="\t", flush=True)


main()
