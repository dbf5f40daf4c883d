// Packing, one source for all instruction sets. A loader L knows the stored type (Lane), how many of them a group holds
// (kGroup) and how a vector of groups is read:
//   along(p), along_first(p, n)  groups that follow each other in memory; n stored elements, then zeros
//   across(p, k, n)              one group of each of kLanes lines side by side: its elements are k[0], k[1], ... away,
//                                n of them, then zeros; across_first(p, k, n, lines) reads no line beyond
//   element(p, k, n)             the one group of one line
// Everything is in an unnamed namespace: see simd.h.
#pragma once

#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

TENON_INLINE bool is_unit(const std::int64_t* offsets, std::int64_t n) {
    std::int64_t gaps = 0;
    for (std::int64_t i = 1; i < n; ++i) gaps |= offsets[i] - offsets[i - 1] - 1;
    return gaps == 0;
}

TENON_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

template <class V, class L>
struct Packing {
    using In = typename V::In;
    using InReg = typename V::InReg;
    using Lane = typename L::Lane;
    using Columns = Vector<In>;
    static constexpr std::int64_t n = V::kLanes, kGroup = L::kGroup;

    static const Lane* base(const PackSource& s) { return static_cast<const Lane*>(s.data); }
    static std::int64_t groups(const PackSource& s) { return (s.k + kGroup - 1) / kGroup; }
    static int in_group(const PackSource& s, std::int64_t g) {
        return static_cast<int>(least(kGroup, s.k - g * kGroup));
    }

    /// A square of n lines and n groups from (line, group), as vectors of lines; zeros beyond the operand. The data
    /// `after` it is prefetched: these are more streams than the hardware prefetcher follows.
    TENON_INLINE static void read_along(InReg (&square)[n], const Lane* p, const PackSource& s, std::int64_t line,
                                        std::int64_t k, std::int64_t after) {
        const std::int64_t lines = s.lines - line, left = s.k - k;
        if (lines >= n && left >= n * kGroup) {
#pragma GCC unroll 16
            for (int r = 0; r < n; ++r) {
                const Lane* at = p + s.line_offsets[line + r] + k;
                __builtin_prefetch(at + after, 0, 2);
                square[r] = L::along(at);
            }
        } else {
            for (int r = 0; r < n; ++r)
                square[r] =
                    r < lines ? L::along_first(p + s.line_offsets[line + r] + k, least(left, n * kGroup)) : InReg{};
        }
    }

    /// The same, as vectors of groups.
    TENON_INLINE static void read_across(InReg (&square)[n], const Lane* p, const PackSource& s, std::int64_t line,
                                         std::int64_t group) {
        const std::int64_t lines = s.lines - line, left = groups(s) - group;
        for (int r = 0; r < n; ++r) {
            if (r >= left)
                square[r] = InReg{};
            else if (lines >= n)
                square[r] = L::across(p + line, s.k_offsets + (group + r) * kGroup, in_group(s, group + r));
            else
                square[r] =
                    L::across_first(p + line, s.k_offsets + (group + r) * kGroup, in_group(s, group + r), lines);
        }
    }

    /// k consists of several axes, and the last is contiguous: each of its runs is packed like a k of its own.
    static bool in_runs(const PackSource& s) { return kGroup == 1 && run_at(s, 0) >= n / 2; }
    static std::int64_t run_at(const PackSource& s, std::int64_t k) {
        std::int64_t end = k + 1;
        while (end < s.k && s.k_offsets[end] == s.k_offsets[end - 1] + 1) ++end;
        return end - k;
    }
    template <class F>
    static void for_each_run(const PackSource& s, F f) {
        for (std::int64_t k = 0; k < s.k;) {
            const std::int64_t run = run_at(s, k);
            f(k, PackSource{s.data, s.line_offsets, s.k_offsets + k, s.lines, run});
            k += run;
        }
    }

    static void lines_in_runs(In* dst, std::int64_t pitch, const PackSource& s) {
        const Lane* p = base(s);
        for_each_run(s, [&](std::int64_t first, const PackSource& run) {
            for (std::int64_t i = 0; i < run.lines; ++i) {
                const Lane* line = p + run.line_offsets[i] + run.k_offsets[0];
                In* const to = dst + i * pitch + first;
                std::int64_t k = 0;
                for (; k + n <= run.k; k += n) Columns::store(to + k, L::along(line + k));
                // Writes nothing beyond: the next line's first elements may be there already.
                if (k < run.k) Columns::store(to + k, L::along_first(line + k, run.k - k), Columns::first(run.k - k));
            }
        });
        const std::int64_t rest = (s.k + n - 1) / n * n - s.k;
        for (std::int64_t i = 0; i < s.lines && rest > 0; ++i)
            Columns::store(dst + i * pitch + s.k, InReg{}, Columns::first(rest));
    }

    /// Two vectors of adjacent lines at a time, by shuffles of whole rows, if k has whole squares. Returns how many
    /// lines it took.
    static std::int64_t two_lines(In* dst, std::int64_t pitch, const Lane* p, const PackSource& s) {
        std::int64_t line = 0;
        if constexpr (requires { L::kTwo; })
            for (; line + 2 * n <= s.lines && s.k % (n * kGroup) == 0; line += 2 * n)
                for (std::int64_t g = 0; g < groups(s); g += n) {
                    InReg first[n], second[n];
#pragma GCC unroll 16
                    for (int r = 0; r < n; ++r) L::two(first[r], second[r], p + line, s.k_offsets + (g + r) * kGroup);
                    transpose<n / 2, n>(first);
                    transpose<n / 2, n>(second);
                    In* const to = dst + line * pitch + g;
#pragma GCC unroll 16
                    for (int r = 0; r < n; ++r) Columns::store(to + r * pitch, first[r]);
#pragma GCC unroll 16
                    for (int r = 0; r < n; ++r) Columns::store(to + (n + r) * pitch, second[r]);
                }
        return line;
    }

    static void lines(In* dst, std::int64_t pitch, const PackSource& s) {
        const Lane* p = base(s);
        if (is_unit(s.k_offsets, s.k)) {
            for (std::int64_t i = 0; i < s.lines; ++i, dst += pitch) {
                const Lane* line = p + s.line_offsets[i] + s.k_offsets[0];
                std::int64_t k = 0;
                In* to = dst;
                for (; k + n * kGroup <= s.k; k += n * kGroup, to += n) Columns::store(to, L::along(line + k));
                if (k < s.k) Columns::store(to, L::along_first(line + k, s.k - k));
            }
        } else if (is_unit(s.line_offsets, s.lines)) {
            for (std::int64_t line = two_lines(dst, pitch, p + s.line_offsets[0], s); line < s.lines; line += n)
                for (std::int64_t g = 0; g < groups(s); g += n) {
                    InReg square[n];
                    read_across(square, p + s.line_offsets[0], s, line, g);
                    transpose<n / 2, n>(square);
                    for (std::int64_t r = 0; r < least(n, s.lines - line); ++r)
                        Columns::store(dst + (line + r) * pitch + g, square[r]);
                }
        } else if (in_runs(s)) {
            lines_in_runs(dst, pitch, s);
        } else {
            for (std::int64_t line = 0; line < s.lines; ++line, dst += pitch)
                for (std::int64_t g = 0; g < (groups(s) + n - 1) / n * n; ++g)
                    dst[g] = g < groups(s)
                                 ? L::element(p + s.line_offsets[line], s.k_offsets + g * kGroup, in_group(s, g))
                                 : In{};
        }
    }

    /// Lines that are contiguous along k; the first element of the first one is at p. A vector of lines is transposed
    /// along all of k before the next: so few runs of memory are followed by the hardware prefetcher, also where they
    /// are a multiple of 4 KB apart (Zen 5, float32 from L2: 5.2 cycles a vector; 64 lines together: 8.7 to 11).
    static void lines_across(In* dst, std::int64_t pitch, const Lane* p, const PackSource& s) {
        // Usually the lines that follow these.
        const std::int64_t after = s.lines > 1 ? n * (s.line_offsets[1] - s.line_offsets[0]) : 0;
        for (std::int64_t line = 0; line < s.lines; line += n)
            for (std::int64_t k = 0, g = 0; k < s.k; k += n * kGroup, g += n) {
                InReg square[n];
                read_along(square, p, s, line, k, after);
                transpose<n / 2, n>(square);
                for (std::int64_t r = 0; r < least(n, groups(s) - g); ++r)
                    Columns::store(dst + (g + r) * pitch + line, square[r]);
            }
    }

    /// Two vectors of adjacent lines, and whole groups: what remains of small products is this loop.
    static void across_two(In* dst, std::int64_t pitch, const Lane* p, const std::int64_t* k, std::int64_t groups) {
        if constexpr (requires { L::kTwo; })
            for (std::int64_t g = 0; g < groups; ++g, dst += pitch, k += kGroup) {
                InReg first, second;
                L::two(first, second, p, k);
                Columns::store(dst, first), Columns::store(dst + n, second);
            }
    }

    static void across(In* dst, std::int64_t pitch, const PackSource& s) {
        const Lane* p = base(s);
        const std::int64_t whole = s.lines / n * n;
        if (is_unit(s.line_offsets, s.lines)) {
            p += s.line_offsets[0];
            if constexpr (requires { L::kTwo; })
                if (s.lines == 2 * n && s.k % kGroup == 0) return across_two(dst, pitch, p, s.k_offsets, groups(s));
            for (std::int64_t g = 0; g < groups(s); ++g, dst += pitch) {
                const std::int64_t* k = s.k_offsets + g * kGroup;
                std::int64_t i = 0;
                if constexpr (requires { L::kFour; })
                    for (; i + 4 * n <= whole && in_group(s, g) == kGroup; i += 4 * n) {
                        InReg to[4];
                        L::four(to, p + i, k);
#pragma GCC unroll 4
                        for (int j = 0; j < 4; ++j) Columns::store(dst + i + j * n, to[j]);
                    }
                if constexpr (requires { L::kTwo; })
                    for (; i + 2 * n <= whole && in_group(s, g) == kGroup; i += 2 * n) {
                        InReg first, second;
                        L::two(first, second, p + i, k);
                        Columns::store(dst + i, first), Columns::store(dst + i + n, second);
                    }
                for (; i < whole; i += n) Columns::store(dst + i, L::across(p + i, k, in_group(s, g)));
                if (whole < s.lines)
                    Columns::store(dst + whole, L::across_first(p + whole, k, in_group(s, g), s.lines - whole));
            }
        } else if (is_unit(s.k_offsets, s.k)) {
            lines_across(dst, pitch, p + s.k_offsets[0], s);
        } else if (in_runs(s)) {
            for_each_run(s, [&](std::int64_t k, const PackSource& run) { across(dst + k * pitch, pitch, run); });
        } else {
            for (std::int64_t g = 0; g < groups(s); ++g, dst += pitch)
                for (std::int64_t i = 0; i < (s.lines + n - 1) / n * n; ++i)
                    dst[i] = i < s.lines ? L::element(p + s.line_offsets[i], s.k_offsets + g * kGroup, in_group(s, g))
                                         : In{};
        }
    }
};

template <class V, class L>
constexpr void accept(KernelSet<typename V::In, typename V::Acc>& set, Source source) {
    set.lines[static_cast<int>(source)] = Packing<V, L>::lines;
    set.across[static_cast<int>(source)] = Packing<V, L>::across;
}

}  // namespace
}  // namespace tenon::product::dense
