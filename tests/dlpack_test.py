"""DLPack between Tenon and PyTorch, on the CPU and on a GPU where there is one: dlpack_test.py LIBRARY (tests/dlpack_peer.cpp)."""
import ctypes
import gc
import sys
import unittest

try:
    import torch
except ImportError:
    print("there is no PyTorch")
    sys.exit(77)

peer = ctypes.CDLL(sys.argv.pop(1))
for name in ("peer_compute", "peer_compute_unversioned", "peer_pass"):
    getattr(peer, name).restype = ctypes.c_void_p
    getattr(peer, name).argtypes = [ctypes.c_void_p, ctypes.c_int64]
peer.peer_stream.restype = ctypes.c_int64
peer.peer_error.restype = ctypes.c_char_p

api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetName.restype = ctypes.c_char_p
api.PyCapsule_GetName.argtypes = [ctypes.py_object]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]

NAMES = {}  # what a capsule is named once it is consumed; they outlive the capsules
for _name in (b"dltensor", b"dltensor_versioned"):
    NAMES[_name] = ctypes.c_char_p(b"used_" + _name)
PLAIN = {name: ctypes.c_char_p(name) for name in NAMES}


class Exported:
    """A tensor of Tenon's as Python's protocol has it."""

    def __init__(self, call, pointer, name, on_gpu):
        self.call, self.pointer, self.name, self.on_gpu = call, pointer, name, on_gpu

    def __dlpack_device__(self):
        return (2, 0) if self.on_gpu else (1, 0)

    def __dlpack__(self, *, stream=None, **_):
        made = self.call(self.pointer, stream or (1 if self.on_gpu else 0))
        if not made:
            raise RuntimeError(peer.peer_error().decode())
        return api.PyCapsule_New(made, PLAIN[self.name], None)


def consume(x, versioned):
    """The structure that PyTorch exports, ours from now on, and the capsule's name."""
    stream = peer.peer_stream(1) if x.is_cuda else None
    capsule = x.__dlpack__(stream=stream, max_version=(1, 0)) if versioned else x.__dlpack__(stream=stream)
    name = api.PyCapsule_GetName(capsule)
    pointer = api.PyCapsule_GetPointer(capsule, name)
    api.PyCapsule_SetName(capsule, NAMES[name])
    return pointer, name


def through(x, call=None, versioned=True):
    pointer, name = consume(x, versioned)
    if call is None:
        call = peer.peer_compute if name == b"dltensor_versioned" else peer.peer_compute_unversioned
    return torch.from_dlpack(Exported(call, pointer, name, x.is_cuda))


class Dlpack(unittest.TestCase):
    def devices(self):
        yield "cpu"
        if torch.cuda.is_available():
            yield "cuda"

    def test_values(self):
        for device in self.devices():
            for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8):
                for versioned in (True, False):
                    x = torch.arange(60, device=device).to(dtype).reshape(3, 4, 5)
                    for view in (x, x.permute(2, 0, 1), x[1:, ::2, 1:], x[1, 2, 3], x[:0], x.expand(2, 3, 4, 5)):
                        y = through(view, versioned=versioned)
                        self.assertEqual(y.device, view.device)
                        self.assertEqual(y.dtype, dtype)
                        self.assertTrue(torch.equal(y, view * 2 + 1), (device, dtype, view.shape))

    def test_the_memory_is_shared(self):
        for device in self.devices():
            x = torch.arange(10.0, device=device)[3:]
            pointer, name = consume(x, True)
            if name != b"dltensor_versioned":
                self.skipTest("this PyTorch exports no versioned tensors")
            y = torch.from_dlpack(Exported(peer.peer_pass, pointer, name, x.is_cuda))
            self.assertEqual(y.data_ptr(), x.data_ptr())
            self.assertTrue(torch.equal(x, y))

    def test_nothing_is_kept(self):
        if not torch.cuda.is_available():
            self.skipTest("PyTorch has no GPU")
        x = torch.ones(1 << 20, device="cuda")
        before = torch.cuda.memory_allocated()
        for _ in range(50):
            through(x)
        gc.collect()
        torch.cuda.synchronize()
        self.assertEqual(torch.cuda.memory_allocated(), before)

    def test_streams(self):
        """PyTorch's work may still run when Tenon gets the tensor, and Tenon's when PyTorch does."""
        if not torch.cuda.is_available():
            self.skipTest("PyTorch has no GPU")
        for stream in (torch.cuda.current_stream(), torch.cuda.Stream()):
            with torch.cuda.stream(stream):
                for _ in range(20):
                    x = torch.zeros(1 << 26, device="cuda")
                    for _ in range(10):
                        x += 1
                    y = through(x)
                    x.fill_(7)  # Tenon has read it, or waits in the way
                    z = y + 1
                    del x, y
                    other = torch.full((1 << 26,), 3.0, device="cuda")
                    self.assertEqual((z.min().item(), z.max().item()), (22, 22))
                    del other


unittest.main()
