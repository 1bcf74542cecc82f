/*
 * Shapes; the contract is in shape.h.
 */
#include "base/shape.h"

#include <string.h>

int64_t nbi_product(int rank, const int64_t *dims)
{
    int64_t n = 1;
    bool empty = false, overflow = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return -1;
        empty |= dims[i] == 0;
        overflow |= !empty && __builtin_mul_overflow(n, dims[i], &n);
    }
    return empty ? 0 : overflow ? -1 : n;
}

nb_axes nb_axes_make(size_t count, const int *axes)
{
    nb_axes a = {NB_MAX_RANK + 1, {0}};
    if (count == (size_t)-1)
        a.count = -1;
    if (count > NB_MAX_RANK || (count && !axes))
        return a;
    a.count = (int)count;
    for (size_t i = 0; i < count; i++)
        a.axis[i] = axes[i];
    return a;
}

int64_t nb_shape_size(nb_shape shape)
{
    return shape.rank > NB_MAX_RANK ? -1 : nbi_product(shape.rank, shape.dims);
}

bool nb_shape_equal(nb_shape a, nb_shape b)
{
    if (a.rank != b.rank || a.rank > NB_MAX_RANK)
        return false;
    return a.rank <= 0 || !memcmp(a.dims, b.dims, (size_t)a.rank * sizeof *a.dims);
}

bool nbi_broadcast(nb_shape *out, int rank, const int64_t *dims)
{
    if (rank > out->rank) {
        int shift = rank - (out->rank < 0 ? 0 : out->rank);
        for (int i = rank - 1; i >= 0; i--)
            out->dims[i] = i >= shift ? out->dims[i - shift] : 1;
        out->rank = rank;
    }
    for (int i = 0; i < rank; i++) {
        int64_t *d = &out->dims[out->rank - rank + i];
        if (*d == 1)
            *d = dims[i];
        else if (dims[i] != 1 && dims[i] != *d)
            return false;
    }
    return true;
}

char *nbi_shape_text(char *text, int rank, const int64_t *dims)
{
    if (rank < 0)
        return strcpy(text, "scalar");
    char *p = text;
    *p++ = '[';
    for (int i = 0; i < rank && i < NB_MAX_RANK; i++)
        p += sprintf(p, i ? " %lld" : "%lld", (long long)dims[i]);
    strcpy(p, "]");
    return text;
}

char *nb_shape_text(char *text, nb_shape shape)
{
    return nbi_shape_text(text, shape.rank, shape.dims);
}
