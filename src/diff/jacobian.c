/*
 * The Jacobian, dense.
 *
 * With outputs of m elements in all and inputs of n, J is the m by n matrix of the derivatives of
 * the former by the latter. A reverse sweep with the seed u computes u'J; the unit seed e_i gives
 * row i, so m sweeps give J. A forward sweep along the direction v computes Jv; e_j gives column j,
 * so n sweeps give J. Both are exact and agree to rounding; which is cheaper is a matter of shape.
 *
 * Two things keep them the same function. An input may be an interior node, and may depend on
 * another: its column is the total derivative, through every path, so a forward sweep is given one
 * input at a time, for an input that is given a direction passes on no other. And a constant has
 * columns of zeros, though a direction could be pushed through it.
 */
#include "diff/dense.h"

nb_code nbi_nodes(nb_tape **home, const char *what, size_t n, const nb_var *x)
{
    nb_var inert;
    nb_tape *t = nbi_home(what, n, x, &inert);
    if (inert.tape)
        return inert.tape->code ? inert.tape->code : NB_ERR_HANDLE;
    *home = *home ? *home : t;
    for (size_t k = 0; k < n; k++)
        if (!x[k].tape || x[k].tape != *home)
            return nbi_fail(*home, NB_ERR_HANDLE, "%s: var %zu is a number, or of another tape",
                            what, k);
    return NB_OK;
}

nb_code nbi_elements(nb_tape *t, const char *what, size_t n, const nb_var *x, size_t *total)
{
    *total = 0;
    for (size_t k = 0; k < n; k++) {
        size_t size = (size_t)nb_size(x[k]);
        if (size > SIZE_MAX - *total)
            return nbi_fail(t, NB_ERR_OVERFLOW, "%s: too many elements", what);
        *total += size;
    }
    return NB_OK;
}

nb_code nbi_matrix_fits(nb_tape *t, const char *what, size_t rows, size_t columns)
{
    if (columns && rows > SIZE_MAX / sizeof(double) / columns)
        return nbi_fail(t, NB_ERR_OVERFLOW, "%s: a matrix of %zu rows and %zu columns is too large",
                        what, rows, columns);
    return NB_OK;
}

double *nbi_zeros(nb_tape *t, const char *what, size_t n)
{
    double *p = n <= SIZE_MAX / sizeof *p ? nbi_scratch(t, n * sizeof *p) : NULL;
    if (!p)
        nbi_no_memory(t, what);
    else
        memset(p, 0, n * sizeof *p);
    return p;
}

nb_code nbi_pull(nb_var out, const double *seed, size_t n_in, const nb_var *in, double *row)
{
    nb_sweep s = {.n_out = 1, .out = &out, .seed = &seed, .n_want = n_in, .want = in};
    nb_code code = nb_backward_with(&s);
    for (size_t k = 0; k < n_in && code == NB_OK; k++) {
        int64_t size = nb_size(in[k]);
        code = nb_read_grad(in[k], row, size);
        row += size;
    }
    return code;
}

/* A Jacobian to be filled. */
typedef struct jacobian {
    nb_tape *t;
    size_t n_out, n_in;
    const nb_var *out, *in;
    size_t rows, columns;
    double *to; /* [rows columns] */
} jacobian;

static nb_code by_reverse(jacobian *j)
{
    double *row = j->to;
    for (size_t k = 0; k < j->n_out; k++) {
        const nbi_spot scratch = j->t->scratch.at;
        const int64_t size = nb_size(j->out[k]);
        double *unit = nbi_zeros(j->t, "jacobian", (size_t)size);
        nb_code code = unit ? NB_OK : j->t->code;
        for (int64_t i = 0; i < size && code == NB_OK; i++, row += j->columns) {
            unit[i] = 1;
            code = nbi_pull(j->out[k], unit, j->n_in, j->in, row);
            unit[i] = 0;
        }
        nbi_give_back(&j->t->scratch, scratch);
        if (code != NB_OK)
            return code;
    }
    return NB_OK;
}

/* Column c: the derivative of all outputs along the direction dx of x. The column is scratch. */
static nb_code push(jacobian *j, nb_var x, const double *dx, double *column, size_t c)
{
    nb_code code = nb_forward(1, &x, &dx);
    double *at = column;
    for (size_t k = 0; k < j->n_out && code == NB_OK; k++) {
        int64_t size = nb_size(j->out[k]);
        code = nb_read_tangent(j->out[k], at, size);
        at += size;
    }
    for (size_t r = 0; r < j->rows && code == NB_OK; r++)
        j->to[r * j->columns + c] = column[r];
    return code;
}

static nb_code by_forward(jacobian *j)
{
    double *column = nbi_zeros(j->t, "jacobian", j->rows);
    if (!column)
        return j->t->code;
    memset(j->to, 0, j->rows * j->columns * sizeof *j->to);
    for (size_t k = 0, c = 0; k < j->n_in; k++) {
        const nbi_spot scratch = j->t->scratch.at;
        const size_t size = (size_t)nb_size(j->in[k]);
        double *unit = nbi_zeros(j->t, "jacobian", size);
        nb_code code = unit ? NB_OK : j->t->code;
        for (size_t i = 0; i < size && code == NB_OK && !nbi_still(j->t, j->in[k].index); i++) {
            unit[i] = 1;
            code = push(j, j->in[k], unit, column, c + i);
            unit[i] = 0;
        }
        c += size;
        nbi_give_back(&j->t->scratch, scratch);
        if (code != NB_OK)
            return code;
    }
    return NB_OK;
}

nb_code nb_jacobian(size_t n_out, const nb_var *out, size_t n_in, const nb_var *in,
                    nb_jacobian_mode mode, double *rows_by_columns)
{
    if (!n_out || !out || !n_in || !in || !rows_by_columns || (unsigned)mode > NB_JACOBIAN_REVERSE)
        return NB_ERR_ARGUMENT;
    jacobian j = {out[0].tape, n_out, n_in, out, in, 0, 0, rows_by_columns};
    nb_code code = nbi_nodes(&j.t, "jacobian", n_in, in);
    if (code == NB_OK)
        code = nbi_nodes(&j.t, "jacobian", n_out, out);
    if (code == NB_OK)
        code = nbi_elements(j.t, "jacobian", n_out, out, &j.rows);
    if (code == NB_OK)
        code = nbi_elements(j.t, "jacobian", n_in, in, &j.columns);
    if (code == NB_OK)
        code = nbi_matrix_fits(j.t, "jacobian", j.rows, j.columns);
    if (code != NB_OK)
        return code;
    if (nbi_busy(j.t, "jacobian"))
        return j.t->code;
    const nbi_spot scratch = j.t->scratch.at;
    bool tall = j.columns < j.rows / 2; /* a forward sweep costs one to three reverse ones */
    bool forward = mode == NB_JACOBIAN_AUTO ? tall : mode == NB_JACOBIAN_FORWARD;
    code = forward ? by_forward(&j) : by_reverse(&j);
    nbi_give_back(&j.t->scratch, scratch);
    return code;
}
