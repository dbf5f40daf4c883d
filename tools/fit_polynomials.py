#!/usr/bin/env python3
"""Prints the polynomial coefficients of src/tape/math.h (needs mpmath).

Each fit minimises the weighted maximum error over an interval by Remez's exchange, in 60 digits; the coefficients
are then rounded to the type. `error` is the weighted maximum after rounding: relative to the function's result.
"""
import struct
from mpmath import mp, mpf, atan, atanh, cos, erf, erfc, exp, expm1, log, lu_solve, matrix, pi, sin, sqrt, tanh

mp.dps = 60


def remez(f, weight, low, high, degree, rounds=12):
    n = degree + 2
    points = [(low + high) / 2 - (high - low) / 2 * cos(pi * (k + mpf(1) / 2) / n) for k in range(n)]
    grid = [(low + high) / 2 - (high - low) / 2 * cos(pi * (k + mpf(1) / 2) / 1200) for k in range(1200)]
    values = [(x, f(x), weight(x)) for x in grid]
    best = None
    for _ in range(rounds):
        a, b = matrix(n, n), matrix(n, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                a[i, j] = x**j
            a[i, n - 1] = (-1) ** i / weight(x)
            b[i] = f(x)
        c = [v for v in lu_solve(a, b)][: degree + 1]
        errors = [w * (g - horner(c, x)) for x, g, w in values]
        worst = max(abs(e) for e in errors)
        if best is None or worst < best[0]:
            best = worst, c
        # One extremum in each run of equal sign; with more runs than needed, the smallest go, signs still alternating.
        runs, start = [], 0
        for k in range(1, len(grid) + 1):
            if k == len(grid) or (errors[k] > 0) != (errors[start] > 0):
                runs.append(max(range(start, k), key=lambda i: abs(errors[i])))
                start = k
        while len(runs) > n:
            k = min(range(len(runs)), key=lambda i: abs(errors[runs[i]]))
            runs.pop(k)
            if 0 < k < len(runs):
                runs.pop(k - 1 if abs(errors[runs[k - 1]]) < abs(errors[runs[k]]) else k)
        if len(runs) < n:
            break
        points = [grid[k] for k in runs]
    return best[1], values


def horner(c, x):
    y = mpf(0)
    for k in reversed(c):
        y = y * x + k
    return y


def rounded(x, bits):
    if bits == 64:
        return mpf(float(x))
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def exp_scale():
    """P and Q with P / Q = log2(e) to 36 bits: P a float, Q of 16 bits, so that its products with exponents are exact."""
    pairs = [(rounded(q / mpf(2) ** 17 / log(mpf(2)), 32), mpf(q) / 2**17) for q in range(2**15, 2**16)]
    # Between these the roundings of the reduced argument and of the polynomial are smallest together.
    return min((p for p in pairs if 0.51 < p[0] < 0.54), key=lambda p: abs(p[1] / p[0] - log(mpf(2))))


def fit(name, f, weight, low, high, degree, bits):
    c, values = remez(f, weight, mpf(low), mpf(high), degree)
    c = [rounded(v, bits) for v in c]
    error = max(abs(w * (g - horner(c, x))) for x, g, w in values)
    print(f"// {name}, float{bits}, degree {degree}, on [{float(low):.4g}, {float(high):.4g}]; error 2^{float(log(error, 2)):.1f}")
    suffix = "f" if bits == 32 else ""
    print(", ".join(float(v).hex() + suffix for v in c))


def fit_exp_scaled():
    """exp(r / P) - 1 without its constant: the first two coefficients are rounded, and the others make up for it."""
    p, q = exp_scale()
    low, high = -half * p, half * p * mpf("1.001")
    known = [mpf(0), rounded(1 / p, 32)]
    for degree in (4, 3):
        n = len(known)
        c, values = remez(lambda r: (expm1(r / p) - horner(known, r)) / r**n,
                          lambda r: max(abs(r) ** n, tiny) / exp(r / p), low, high, degree)
        known.append(rounded(c[0], 32))
    c = known[1:] + [rounded(v, 32) for v in c[1:]]
    print("// exp_scaled, float32: P, Q and the coefficients from r on")
    print(", ".join(float(x).hex() + "f" for x in [p, q] + c))


ln2 = log(mpf(2))
half = ln2 / 2 * mpf("1.001")
tiny = mpf(2) ** -60
s2 = ((sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1)) ** 2 * mpf("1.001")
q4 = (pi / 4) ** 2 * mpf("1.001")

FITS = [
    ("exp", lambda r: (expm1(r) - r) / r**2, lambda r: sqrt(r**2 + mpf("0.003")), -half, half * mpf("1.001"), {32: 5, 64: 10}),
    ("log", lambda z: (2 * atanh(sqrt(z)) / sqrt(z) - 2) / z, lambda z: z / 2, tiny, s2, {32: 3, 64: 6}),
    ("log_tail", lambda z: (2 * atanh(sqrt(z)) / sqrt(z) - 2 - 2 * z / 3) / z**2, lambda z: z**2 / 2, tiny, s2, {64: 6}),
    ("atan", lambda z: (atan(sqrt(z)) / sqrt(z) - 1) / z, lambda z: z, tiny, mpf("0.2501"), {32: 5, 64: 12}),
    ("tanh", lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z, lambda z: z, tiny, mpf("0.3026"), {32: 5, 64: 12}),
    ("sin", lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z, lambda z: z, tiny, q4, {64: 6}),
    ("cos", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2, tiny, q4, {64: 6}),
    ("erf_near", lambda z: erf(sqrt(z)) / sqrt(z) - 1, lambda z: 1 / (erf(sqrt(z)) / sqrt(z)), tiny, 1, {64: 12}),
    ("erf_log", lambda a: -log(erfc(a)) / a - 1, lambda a: erfc(a) * a / erf(a), mpf(2) ** -20, 4, {32: 8}),
    ("erf_far", lambda x: -log(erfc(x)), lambda x: erfc(x), mpf(1), {64: mpf(6)}, {64: 19}),
]

if __name__ == "__main__":
    for name, f, w, low, high, degrees in FITS:
        for bits, degree in degrees.items():
            fit(name, f, w, low, high[bits] if isinstance(high, dict) else high, degree, bits)
    fit_exp_scaled()
    print("// constants: pi/2 and ln 2 in parts")
    rest = pi / 2
    for _ in range(4):
        part = mpf(float(rest))
        print(float(part).hex())
        rest -= part
    mp.dps = 500
    words = int(mp.floor(2 / pi * mpf(2) ** 1216))
    print("// 2/pi, 19 words of 64 bits")
    print(", ".join("0x%016xu" % ((words >> (1216 - 64 * (k + 1))) & (2**64 - 1)) for k in range(19)))
