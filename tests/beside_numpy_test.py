"""NumPy with an OpenBLAS of its own, libtenon, libtenon_blas and libtenon_lapack in one process: each gives right answers,
whatever is loaded first, one after the other and at once. beside_numpy_test.py PEER BLAS [LAPACK]"""
import ctypes
import os
import subprocess
import sys
import threading

ORDERS = ("numpy first", "numpy last", "preloaded")
SIZES = (1, 7, 64, 200, 333)


def load(peer, blas, lapack):
    global numpy, engine, library
    engine = library = None

    def ours():
        global engine, library
        library = [ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL) for file in (blas, lapack) if file]
        engine = ctypes.CDLL(peer)

    if ORDER == "numpy last":
        ours()
    import numpy
    import numpy.linalg

    if not engine:
        ours()


def pointer(x):
    return x.ctypes.data_as(ctypes.c_void_p)


def by_numpy(a, b, s):
    return a @ b, numpy.linalg.eigvalsh(s)


def by_engine(a, b, s):
    n = len(a)
    c, values = numpy.empty((n, n)), numpy.empty(n)
    engine.peer_gemm(pointer(a), pointer(b), pointer(c), ctypes.c_int64(n))
    engine.peer_eigvalsh(pointer(s), pointer(values), ctypes.c_int64(n))
    return c, values


def by_library(a, b, s):
    n = len(a)
    c, values, work, x = numpy.empty((n, n)), numpy.empty(n), numpy.empty(40 * n), s.copy()
    by_rows, plain, one, zero = 101, 111, ctypes.c_double(1), ctypes.c_double(0)
    library[0].cblas_dgemm(by_rows, plain, plain, n, n, n, one, pointer(a), n, pointer(b), n, zero, pointer(c), n)
    if len(library) > 1:
        size, info = ctypes.c_int(n), ctypes.c_int(-1)
        library[1].dsyev_(b"N", b"L", ctypes.byref(size), pointer(x), ctypes.byref(size), pointer(values), pointer(work),
                          ctypes.byref(ctypes.c_int(len(work))), ctypes.byref(info), ctypes.c_size_t(1), ctypes.c_size_t(1))
        assert info.value == 0
    else:
        values = None
    return c, values


def check(ways):
    """Products of whole numbers, exact in any order; eigenvalues to rounding."""
    random = numpy.random.default_rng(5)
    for n in SIZES:
        a, b = (random.integers(-9, 10, (n, n)).astype(float) for _ in range(2))
        s = a + a.T
        exact = a.astype(numpy.int64) @ b.astype(numpy.int64)  # by loops of NumPy, not BLAS
        for way in ways:
            c, values = way(a, b, s)
            assert (c == exact).all(), (ORDER, way.__name__, n)
            if values is not None:
                squares = float((s * s).sum())
                scale = 1e-12 * (1 + squares)
                assert abs(values.sum() - s.trace()) <= scale and abs((values ** 2).sum() - squares) <= scale * n, (ORDER, way.__name__, n)
                assert (values[1:] >= values[:-1]).all()


def child():
    load(*(sys.argv[2:] + [None])[:3])
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps if ".so" in line}
    if not any("openblas" in os.path.basename(file) for file in files):
        print(f"NumPy {numpy.__version__} brings no OpenBLAS of its own")
        return 77
    for name in ("libtenon.so", "libtenon_blas.so"):
        assert any(name in file for file in files), name
    ways = [by_numpy, by_engine, by_library]
    check(ways)
    failures = []

    def run(way):
        try:
            for _ in range(3):
                check([way])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(way,)) for way in ways for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures, failures
    return 0


if __name__ == "__main__":
    if sys.argv[1] in ORDERS:
        ORDER = sys.argv[1]
        sys.exit(child())
    with open(sys.argv[2], "rb") as file:
        content = file.read()
    if any(name in content for name in (b"libasan.so", b"libtsan.so", b"libubsan.so")):
        print("the libraries are built with a sanitizer, which other programs do not load")
        sys.exit(77)
    if subprocess.run([sys.executable, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode != 0:
        print("there is no NumPy")
        sys.exit(77)
    for order in ORDERS:
        environment = dict(os.environ)
        if order == "preloaded":
            environment["LD_PRELOAD"] = ":".join(sys.argv[2:])
        code = subprocess.run([sys.executable, __file__, order] + sys.argv[1:], env=environment).returncode
        if code != 0:
            sys.exit(code if code == 77 else f"{order}: exit status {code}")
    print("right in each order: " + ", ".join(ORDERS))
