"""Operations of PyTorch on a GPU, for `tenon bench loop|batched|product|attention --device cuda`, which starts this after device_loop.py.

A problem has inputs (shapes), dtype, classes and python (an expression of x and the way).
"""


def ways(torch, spec):
    """By name: functions that make a way, which returns what it computes for an input."""
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
        back_ends = ("cudnn", "cudnn-deterministic", "flash", "flash-deterministic")
        return {way: lambda way=way: lambda i: f(sets[i], way) for way in back_ends}

    def eager():
        return lambda i: f(sets[i], None)

    def compiled():
        compiled_f = torch.compile(lambda x: f(x, None))
        return lambda i: compiled_f(sets[i])

    return {"eager": eager, "called": eager, "compiled": compiled}


serve(ways)
