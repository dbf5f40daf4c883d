"""Structured layers in PyTorch on a GPU, in several ways, for `tenon bench chain --device cuda`, which starts this after device_loop.py.

A problem is a layer: structure (btt, kronecker or low-rank), rows, block, rank and backward.
"""


def ways(torch, spec):
    """By name: functions that make a way, which returns what it computes for an input."""
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


serve(ways)
