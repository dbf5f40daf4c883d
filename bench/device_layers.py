"""Structured layers in PyTorch on a GPU, in several ways, for `tenon bench chain --device cuda`, which starts this after device_loop.py.

A problem is a layer: structure (btt, kronecker or low-rank), rows, block, rank and backward.
"""


class Layer:
    """Inputs and cotangents of a layer, and its extents: rows, block and rank."""

    def __init__(self, torch, spec):
        self.torch, self.backward = torch, spec["backward"]
        self.extents = spec["rows"], spec["block"], spec["rank"]
        N, B, _ = self.extents
        self.half = {"device": "cuda", "dtype": torch.bfloat16}
        self.x, self.dy = ([torch.randn(N, B * B, **self.half) for _ in range(INPUTS)] for _ in range(2))

    def with_gradients(self, form, *parameters):
        """A way to compute form(x, *parameters), and its gradients if they are asked for."""
        if not self.backward:
            return lambda i: form(self.x[i], *parameters)
        leaves = [p.detach().requires_grad_() for p in parameters]

        def run(i):
            at = self.x[i].detach().requires_grad_()
            y = form(at, *leaves)
            return y, self.torch.autograd.grad(y, [at, *leaves], self.dy[i])

        return run

    def dense(self):
        _, B, _ = self.extents
        w = self.torch.randn(B * B, B * B, **self.half) / B
        return self.with_gradients(lambda x, w: x @ w.T, w)


def btt(layer):
    torch, half = layer.torch, layer.half
    N, B, R = layer.extents
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
            xi, dyi = layer.x[i].view(N, B, B), layer.dy[i].view(N, B, B)
            torch.bmm(at, xi.permute(1, 2, 0), out=z)
            torch.bmm(z.view(B * R, B, N).permute(1, 2, 0), b, out=y.transpose(0, 1))
            if not layer.backward:
                return
            torch.bmm(b, dyi.permute(1, 2, 0), out=dz.view(B * R, B, N).transpose(0, 1))
            torch.bmm(dz.transpose(1, 2), at, out=dx.transpose(0, 1))
            torch.bmm(dz, xi.transpose(0, 1), out=da)
            torch.bmm(z.view(B * R, B, N).transpose(0, 1), dyi.transpose(0, 1), out=db)

        return run

    forms = {"natural": natural, "contiguous": contiguous, "einsum": einsum, "in-place": in_place}
    return forms, strided, (a, b)


def kronecker(layer):
    """Y = A X B^T, with x's row as a square X."""
    torch, half = layer.torch, layer.half
    N, B, R = layer.extents
    a, b = (torch.randn(B, B, **half) / B**0.5 for _ in range(2))

    def natural(x, a, b):
        return (a @ x.view(N, B, B) @ b.T).reshape(N, B * B)

    def einsum(x, a, b):
        return torch.einsum("fg,ngp,qp->nfq", a, x.view(N, B, B), b).reshape(N, B * B)

    def strided():
        z, y, dz, dx = (torch.empty(N, B, B, **half) for _ in range(4))

        def run(i):
            xi, dyi = layer.x[i].view(N, B, B), layer.dy[i].view(N, B, B)
            torch.mm(xi.view(N * B, B), b.T, out=z.view(N * B, B))
            torch.matmul(a, z, out=y)
            if not layer.backward:
                return
            torch.matmul(a.T, dyi, out=dz)
            torch.mm(dz.view(N * B, B), b, out=dx.view(N * B, B))
            db = dz.view(N * B, B).T @ xi.view(N * B, B)
            da = dyi.transpose(0, 1).reshape(B, N * B) @ z.transpose(0, 1).reshape(B, N * B).T
            return da, db

        return run

    return {"natural": natural, "einsum": einsum}, strided, (a, b)


def low_rank(layer):
    torch, half = layer.torch, layer.half
    N, B, R = layer.extents
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
            torch.mm(layer.x[i], v.T, out=z)
            torch.mm(z, u.T, out=y)
            if not layer.backward:
                return
            torch.mm(layer.dy[i], u, out=dz)
            torch.mm(dz, v, out=dx)
            torch.mm(dz.T, layer.x[i], out=dv)
            torch.mm(layer.dy[i].T, z, out=du)

        return run

    return {"natural": natural, "einsum": einsum}, strided, (u, v)


def ways(torch, spec):
    """By name: functions that make a way, which returns what it computes for an input."""
    layer = Layer(torch, spec)
    forms, strided, parameters = {"btt": btt, "kronecker": kronecker, "low-rank": low_rank}[spec["structure"]](layer)
    all_ways = {"dense": layer.dense, "strided": strided}
    for name, form in forms.items():
        all_ways[name] = lambda form=form: layer.with_gradients(form, *parameters)
        all_ways[name + "-compiled"] = lambda form=form: layer.with_gradients(torch.compile(form), *parameters)
    return all_ways


serve(ways)
