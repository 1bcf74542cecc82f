/*
 * The binomial schedule of Griewank and Walther.
 *
 * l steps are to be visited last to first; to visit one its state must be at hand. Room is there for s
 * states, the one at the start included. To advance is to compute a step for the state after it
 * alone; the visit itself is not counted. How few advances suffice?
 *
 * Let B(s, r) be the greatest l for which no step is advanced more than r times. The first move is to
 * advance over some m steps and keep the state there. The right part has s - 1 states and r advances;
 * the left one, over which the first move went, s states and r - 1 advances. So
 *
 *     B(s, r) = B(s - 1, r) + B(s, r - 1),   B(s, 0) = B(0, r) = 1,   which is  binom(s + r, s):
 *
 * Pascal's rule. (Without advances only one step can be visited: its state is the start. With s = 0
 * the recursion needs the single step whose state is at hand.)
 *
 * In any schedule at most B(s, k) steps are advanced k times or fewer, so at least l - B(s, k) more
 * often. Let r be the least with l <= B(s, r). Summed over the times,
 *
 *     t(l, s) >= sum over k < r of (l - B(s, k)) = r l - binom(s + r, r - 1),
 *
 * by the sum along a diagonal of Pascal's triangle, and equality holds if each part of a split has the
 * r of its own that the recursion names: B(s, r-2) <= m <= B(s, r-1) on the left, advanced over once
 * already, and B(s-1, r-1) <= l - m <= B(s-1, r) on the right. The greatest such m is taken.
 */
#include "diff/revolve.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* B(s, i) from b = B(s, i - 1): b (s + i) / i, which is whole, so the remainder of b / i contributes a
 * whole number too. Saturates. */
static int64_t next_reach(int64_t b, int64_t s, int64_t i)
{
    int64_t c;
    if (__builtin_mul_overflow(b / i, s + i, &c) ||
        __builtin_add_overflow(c, b % i * (s + i) / i, &c))
        return INT64_MAX;
    return c;
}

/* B(s, r), 0 for r < 0. Where s >= 2, r is at most 2^21. */
static int64_t reach(int64_t s, int64_t r)
{
    int64_t b = r >= 0;
    for (int64_t i = 1; i <= r && b < INT64_MAX; i++)
        b = next_reach(b, s, i);
    return b;
}

/* The least r with l <= B(s, r). */
static int64_t repeats(int64_t l, int64_t s)
{
    int64_t r = 0;
    for (int64_t b = 1; b < l; b = next_reach(b, s, r))
        r++;
    return r;
}

int64_t nbi_revolve_advances(int64_t l, int64_t s)
{
    int64_t total, half;
    if (s == 1) /* B(1, r) = r + 1, and r l - binom(r + 1, r - 1) = l (l - 1) / 2 */
        return __builtin_mul_overflow(l % 2 ? l : l - 1, l % 2 ? (l - 1) / 2 : l / 2, &half)
                   ? INT64_MAX
                   : half;
    const int64_t r = repeats(l, s);
    if (__builtin_mul_overflow(r, l, &total))
        return INT64_MAX;
    return r ? total - reach(s + 1, r - 1) : 0;
}

int64_t nbi_revolve_split(int64_t l, int64_t s)
{
    const int64_t r = repeats(l, s);
    return least(reach(s, r - 1), l - reach(s - 1, r - 1));
}
