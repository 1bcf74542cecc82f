/*
 * Values, shapes and names of vars.
 */
#include "tape/tape.h"

#include <math.h>

double nb_value(nb_var x)
{
    if (!x.tape)
        return nbi_is_inert(x) ? (double)NAN : nbi_number(x);
    const nb_tape *t = x.tape;
    if (nbi_alive(t, x) && !nbi_is_tensor(t, x.index))
        return t->hot.cells[x.index].value;
    double value = (double)NAN;
    return nb_read(x, &value, 1) == NB_OK ? value : (double)NAN;
}

static const double *widen(nb_dtype d, const void *from, double *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = d == NB_F64 ? ((const double *)from)[i] : (double)((const float *)from)[i];
    return to;
}

/* Copies size elements, or the one number of a scalar, to out. */
static nb_code copy_out(nb_var x, const char *what, const void *data, double scalar, double *out,
                        int64_t n)
{
    int64_t size = nb_size(x);
    if (n && !out)
        return nbi_fail(x.tape, NB_ERR_ARGUMENT, "%s: the room for the elements is NULL", what);
    if (n != size)
        return nbi_fail(x.tape, NB_ERR_SHAPE,
                        "%s: node %u has %lld elements, room for %lld was given", what, x.index,
                        (long long)size, (long long)n);
    if (!nbi_is_tensor(x.tape, x.index))
        *out = scalar;
    else if (data)
        widen(x.tape->dtype, data, out, n);
    else if (n)
        memset(out, 0, (size_t)n * sizeof *out);
    return NB_OK;
}

nb_code nb_read(nb_var x, double *out, int64_t n)
{
    if (!nbi_check("read", x))
        return x.tape ? x.tape->code : NB_ERR_HANDLE;
    return copy_out(x, "read", nb_data(x), x.tape->hot.cells[x.index].value, out, n);
}

nb_code nb_read_grad(nb_var x, double *out, int64_t n)
{
    if (!nbi_check("read_grad", x))
        return x.tape ? x.tape->code : NB_ERR_HANDLE;
    const double adjoint = x.tape->hot.cells[x.index].adjoint;
    const void *grad = nb_grad_data(x);
    if (!grad && adjoint != 0 && nbi_is_tensor(x.tape, x.index))
        return nbi_fail(x.tape, NB_ERR_ARGUMENT,
                        "read_grad: the gradient of node %u was not kept; call nb_retain_grad "
                        "before the sweep",
                        x.index);
    return copy_out(x, "read_grad", grad, adjoint, out, n);
}

nb_code nb_read_tangent(nb_var x, double *out, int64_t n)
{
    if (!nbi_check("read_tangent", x))
        return x.tape ? x.tape->code : NB_ERR_HANDLE;
    bool tensor = nbi_is_tensor(x.tape, x.index), swept = x.index < x.tape->tangents_to;
    return copy_out(x, "read_tangent",
                    tensor && swept ? nbi_record_at(x.tape, x.index)->tangent : NULL,
                    swept && !tensor ? x.tape->tangent[x.index] : 0, out, n);
}

double nb_tangent(nb_var y)
{
    double d = (double)NAN;
    return y.tape && nb_read_tangent(y, &d, 1) != NB_OK ? (double)NAN : y.tape ? d : 0;
}

const void *nb_data(nb_var x)
{
    if (!nbi_check("data", x) || !nbi_is_tensor(x.tape, x.index))
        return NULL;
    return nbi_record_at(x.tape, x.index)->data;
}

bool nb_is_tensor(nb_var x) { return nb_shape_of(x).rank >= 0; }

nb_shape nb_shape_of(nb_var x)
{
    nb_shape none = {-1, {0}};
    if (!x.tape || !nbi_alive(x.tape, x) || !nbi_is_tensor(x.tape, x.index))
        return none;
    const nbi_record *r = nbi_record_at(x.tape, x.index);
    return nb_shape_make((size_t)r->rank, r->dims);
}

int nb_rank(nb_var x)
{
    int rank = nb_shape_of(x).rank;
    return rank < 0 ? 0 : rank;
}

int64_t nb_dim(nb_var x, int axis)
{
    nb_shape s = nb_shape_of(x);
    axis += axis < 0 ? s.rank : 0;
    return axis >= 0 && axis < s.rank ? s.dims[axis] : -1;
}

int64_t nb_size(nb_var x)
{
    nb_shape s = nb_shape_of(x);
    return s.rank < 0 ? 1 : nb_shape_size(s);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The place of index i among the labels, which ascend; usually their end. */
static size_t label_place(const nb_tape *t, uint32_t i)
{
    size_t at = t->n_labels;
    while (at && t->labels[at - 1].index >= i)
        at--;
    return at;
}

static bool label_room(nb_tape *t)
{
    if (t->n_labels < t->label_capacity)
        return true;
    size_t to = t->label_capacity ? 2 * t->label_capacity : 32;
    nbi_label *p = nbi_resize(&t->heap, t->labels, t->label_capacity * sizeof *p, to * sizeof *p);
    if (!p)
        return false;
    t->labels = p;
    t->label_capacity = to;
    return true;
}

/* Forgets the names of the nodes from `length` on, and the texts behind the youngest that stays. */
void nbi_labels_truncate(nb_tape *t, uint32_t length)
{
    if (!t->n_labels || t->labels[t->n_labels - 1].index < length)
        return;
    t->n_labels = label_place(t, length);
    nbi_spot end = {NULL, 0};
    uint64_t youngest = 0;
    for (size_t k = 0; k < t->n_labels; k++)
        if (t->labels[k].serial >= youngest) {
            youngest = t->labels[k].serial;
            end = t->labels[k].end;
        }
    nbi_give_back(&t->names, end);
}

nb_var nb_name(nb_var x, const char *name)
{
    nb_tape *t = x.tape;
    if (!name || !t || !nbi_check("name", x))
        return x;
    size_t at = label_place(t, x.index), bytes = strlen(name) + 1;
    bool again = at < t->n_labels && t->labels[at].index == x.index;
    if (again && !strcmp(t->labels[at].text, name))
        return x;
    char *copy = nbi_take(&t->names, bytes, 1);
    if (!copy || (!again && !label_room(t))) {
        nbi_no_memory(t, "a name");
        return x;
    }
    memcpy(copy, name, bytes);
    if (!again) {
        memmove(t->labels + at + 1, t->labels + at, (t->n_labels - at) * sizeof *t->labels);
        t->n_labels++;
    }
    t->labels[at] = (nbi_label){x.index, t->serial++, copy, t->names.at};
    return x;
}
