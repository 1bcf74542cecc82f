/*
 * Sorting; the contract is in order.h.
 */
#include "data/order.h"

/* Lets the element at `root` sink until both below it come before it. */
static void sink(int64_t n, int64_t *index, int64_t root, nbi_before *before, const void *context)
{
    const int64_t moved = index[root];
    for (int64_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(context, index[child], index[child + 1]))
            child++;
        if (!before(context, moved, index[child]))
            break;
        index[root] = index[child];
    }
    index[root] = moved;
}

void nbi_heapsort(int64_t n, int64_t *index, nbi_before *before, const void *context)
{
    for (int64_t root = n / 2 - 1; root >= 0; root--)
        sink(n, index, root, before, context);
    for (int64_t last = n - 1; last > 0; last--) {
        const int64_t largest = index[0];
        index[0] = index[last];
        index[last] = largest;
        sink(last, index, 0, before, context);
    }
}
