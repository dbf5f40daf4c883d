"""One training step after the other, in PyTorch (on a GPU: "pytorch-cuda") or JAX, for `tenon bench train`, which starts
this after two_factor.py and asks for samples.

Arguments: the library, the problem as JSON, a safetensors file of weights and a batch, the number of threads. Writes a line
when it is ready, then for each number of steps read from stdin the seconds that they took.
"""
import json
import os
import struct
import sys
import time

LIBRARY, SPEC, PATH, THREADS = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
if LIBRARY != "pytorch-cuda":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def resident(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def load(np):
    """The arrays of the file, by name."""
    with open(PATH, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        start, arrays = file.tell(), {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            dtype = {"F32": np.float32, "I64": np.int64}[entry["dtype"]]
            arrays[name] = np.frombuffer(bytearray(file.read(end - begin)), dtype).reshape(entry["shape"])
    return arrays


def forward(ops, p, x):
    """The logits. Both libraries' arrays have these methods; what differs is in `ops`."""

    def linear(name, x):
        if name + ".weight.A" not in p:
            return x @ p[name + ".weight"].T
        a, b = p[name + ".weight.A"], p[name + ".weight.B"]
        phi, delta, rho, gamma, alpha = a.shape
        epsilon, beta = b.shape[1], b.shape[4]
        form = {"natural": natural, "strided": in_place}.get(SPEC.get("form"), by_einsum)
        y = form(ops, x.reshape(-1, gamma, beta, alpha), a, b)
        return y.reshape(x.shape[:-1] + (phi * epsilon * delta,))

    def norm(name, x):
        return ops.layer_norm(x, p[name + ".weight"], p[name + ".bias"])

    if SPEC["model"] == "mlp":
        x = linear("input", x)
        for i in range(SPEC["depth"]):
            block = f"blocks.{i}."
            x = x + linear(block + "down", ops.gelu(linear(block + "up", norm(block + "norm", x))))
        return linear("head", norm("norm", x))
    heads = SPEC["heads"]
    batch, length = x.shape
    x = p["tokens.weight"][x] + p["positions"]
    width = x.shape[-1]
    for i in range(SPEC["depth"]):
        block = f"blocks.{i}."
        qkv = linear(block + "qkv", norm(block + "before", x)).reshape(batch, length, 3, heads, width // heads)
        y = ops.attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        x = x + linear(block + "out", y.reshape(batch, length, width))
        x = x + linear(block + "down", ops.gelu(linear(block + "up", norm(block + "middle", x))))
    return linear("head", norm("norm", x))


def of_torch():
    import numpy as np
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(THREADS)

    class Ops:
        einsum, gelu, narrow = staticmethod(torch.einsum), staticmethod(F.gelu), staticmethod(lambda z: z)

        @staticmethod
        def layer_norm(x, w, b):
            return F.layer_norm(x, w.shape, w, b, 1e-5)

        @staticmethod
        def attention(q, k, v):
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def begin():
        arrays = load(np)
        x, y = (torch.from_numpy(arrays.pop("batch." + name)) for name in "xy")
        params = {name: torch.from_numpy(a).requires_grad_() for name, a in arrays.items()}
        optimizer = torch.optim.Adam(params.values(), lr=RATE, betas=(BETA1, BETA2), eps=EPS, fused=True)

        def step():
            optimizer.zero_grad(set_to_none=True)
            logits = forward(Ops, params, x)
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
            loss.backward()
            optimizer.step()
            return loss

        return step

    return torch.__version__, begin, lambda loss: loss.item()


def of_torch_on_gpu():
    """Weights and activations in bfloat16, compiled; the whole step, with a fused optimizer, is one CUDA graph."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    if not torch.cuda.is_available():
        raise ImportError("PyTorch has no GPU")

    class Ops:
        einsum, matmul, permute = staticmethod(torch.einsum), staticmethod(torch.matmul), staticmethod(torch.permute)
        gelu, narrow = staticmethod(F.gelu), staticmethod(lambda z: z)  # products of bfloat16 are of bfloat16

        @staticmethod
        def layer_norm(x, w, b):
            return F.layer_norm(x, w.shape, w, b, 1e-5)

    def begin():
        arrays = load(np)
        x, y = (torch.from_numpy(arrays.pop("batch." + name)).cuda() for name in "xy")
        params = {name: torch.from_numpy(a).cuda().requires_grad_() for name, a in arrays.items()}
        optimizer = torch.optim.Adam(
            params.values(), lr=RATE, betas=(BETA1, BETA2), eps=EPS, fused=True, capturable=True
        )

        @torch.compile
        def loss_of(params, x, y):
            narrow = {name: p.to(torch.bfloat16) for name, p in params.items()}
            return F.cross_entropy(forward(Ops, narrow, x.to(torch.bfloat16)).float(), y)

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(params, x, y)
            loss.backward()
            optimizer.step()
            return loss

        stream, graph, warm = torch.cuda.Stream(), torch.cuda.CUDAGraph(), []

        def run():
            if len(warm) < SPEC["warm"]:
                with torch.cuda.stream(stream):
                    warm.append(step())
                torch.cuda.synchronize()
                return warm[-1]
            if len(warm) == SPEC["warm"]:
                warm.append(None)
                optimizer.zero_grad(set_to_none=True)
                with torch.cuda.graph(graph, stream=stream):
                    run.loss = step()
            graph.replay()
            return run.loss

        return run

    return torch.__version__, begin, lambda loss: loss.item()


def of_jax():
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_platforms", "cpu")

    class Ops:
        einsum, narrow = staticmethod(jnp.einsum), staticmethod(lambda z: z)

        @staticmethod
        def gelu(x):
            return jax.nn.gelu(x, approximate=False)

        @staticmethod
        def layer_norm(x, w, b):
            centered = x - x.mean(-1, keepdims=True)
            return centered * jax.lax.rsqrt((centered * centered).mean(-1, keepdims=True) + 1e-5) * w + b

        @staticmethod
        def attention(q, k, v):
            return jax.nn.dot_product_attention(q, k, v, is_causal=True)

    def begin():
        arrays = load(np)
        x, y = (jnp.asarray(arrays.pop("batch." + name)) for name in "xy")
        params = {name: jnp.array(a) for name, a in arrays.items()}
        del arrays
        zeros = lambda: {name: jnp.zeros_like(a) for name, a in params.items()}
        held = [params, zeros(), zeros(), jnp.zeros((), jnp.int32)]

        def loss_of(params):
            scores = jax.nn.log_softmax(forward(Ops, params, x))
            return -jnp.take_along_axis(scores, y[..., None], -1).mean()

        def update(params, m, v, t):
            loss, grads = jax.value_and_grad(loss_of)(params)
            t = t + 1
            m = {n: BETA1 * m[n] + (1 - BETA1) * g for n, g in grads.items()}
            v = {n: BETA2 * v[n] + (1 - BETA2) * g * g for n, g in grads.items()}
            c1, c2 = 1 - BETA1**t, 1 - BETA2**t
            new = {n: p - RATE * (m[n] / c1) / (jnp.sqrt(v[n] / c2) + EPS) for n, p in params.items()}
            return loss, new, m, v, t

        jitted = jax.jit(update, donate_argnums=(0, 1, 2))

        def step():
            loss, *held[:] = jitted(*held)
            return loss

        return step

    return jax.__version__, begin, lambda loss: float(jax.block_until_ready(loss))


def main():
    try:
        version, begin, value = {"pytorch": of_torch, "pytorch-cuda": of_torch_on_gpu, "jax": of_jax}[LIBRARY]()
    except ImportError as error:
        print("error", f"{sys.executable}: {error}".replace("\n", " "), sep="\t", flush=True)
        return
    before = resident("VmRSS:")
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the highest resident set so far is forgotten
    step = begin()
    for _ in range(SPEC["warm"]):
        loss = step()
    grown = resident("VmHWM:") - before
    if LIBRARY == "pytorch-cuda":
        import torch

        grown = torch.cuda.max_memory_allocated()
    print("ready", version, value(loss), grown, sep="\t", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            loss = step()
        value(loss)
        print(time.perf_counter() - start, flush=True)


main()
