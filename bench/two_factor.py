"""A layer of two factors (map::TwoFactor of tenon/map.h) in PyTorch or JAX: the beginning of frameworks.py and train.py.

x is (n, gamma, beta, alpha), A (phi, delta, rho, gamma, alpha) and B (phi, epsilon, rho, gamma, beta); the results are (n, phi, epsilon,
delta). Of the library `ops` has einsum, matmul and permute, and narrow, which rounds the intermediate.
"""


def by_einsum(ops, x, a, b):
    z = ops.einsum("ngba,fdrga->nfdrgb", x, a)
    return ops.einsum("nfdrgb,fergb->nfed", ops.narrow(z), b)


def natural(ops, x, a, b):
    """For beta = delta = 1: batched products of the strided rows, the intermediate copied in between."""
    (n, gamma, _, alpha), (phi, epsilon, rho) = x.shape, b.shape[:3]
    z = ops.matmul(x.reshape(n, gamma, alpha).swapaxes(0, 1), ops.permute(a, (3, 1, 4, 0, 2)).reshape(gamma, alpha, phi * rho))
    z = ops.permute(ops.narrow(z).reshape(gamma, n, phi, rho), (2, 1, 0, 3)).reshape(phi, n, gamma * rho)
    y = ops.matmul(z, ops.permute(b, (0, 3, 2, 1, 4)).reshape(phi, gamma * rho, epsilon))
    return y.swapaxes(0, 1).reshape(n, phi, epsilon, 1)


def in_place(ops, x, a, b):
    """For beta = delta = 1: the second product reads the first one's result, which has the rows last, where it lies."""
    (n, gamma, _, alpha), (phi, epsilon, rho) = x.shape, b.shape[:3]
    z = ops.matmul(ops.permute(a, (3, 1, 2, 0, 4)).reshape(gamma, rho * phi, alpha), ops.permute(x.reshape(n, gamma, alpha), (1, 2, 0)))
    z = ops.permute(ops.narrow(z).reshape(gamma * rho, phi, n), (1, 2, 0))
    y = ops.matmul(z, ops.permute(b, (0, 3, 2, 1, 4)).reshape(phi, gamma * rho, epsilon))
    return y.swapaxes(0, 1).reshape(n, phi, epsilon, 1)


def square(ops, x, a, b):
    """For gamma = phi = rho = 1, a Kronecker product: x's row as a matrix, from both sides."""
    n, _, beta, alpha = x.shape
    z = ops.narrow(ops.matmul(x.reshape(n, beta, alpha), a.reshape(a.shape[1], alpha).swapaxes(0, 1)))
    return ops.matmul(b.reshape(b.shape[1], beta), z).reshape(n, 1, b.shape[1], a.shape[1])


