/*
 * The Jacobian, dense.
 *
 * With outputs of m elements in all and inputs of n, J is the m by n matrix of the derivatives of
 * the former by the latter. A reverse sweep with the seed u computes u'J; the unit seed e_i gives
 * row i. A forward sweep along the direction v computes Jv; e_j gives column j. The unit vectors
 * are swept in blocks, m or n of them in all (block.h). Both ways are exact and agree to rounding;
 * which is cheaper is a matter of shape.
 *
 * An input may be an interior node, and may depend on another: its column is the total derivative,
 * through every path. A constant has columns of zeros.
 */
#include "diff/block.h"
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

/* The elements of some vars, one after the other. */
typedef struct place {
    const nb_var *var;
    int64_t element;
} place;

static void advance(place *p)
{
    for (p->element++; p->element >= nb_size(*p->var); p->var++)
        p->element = 0;
}

/* The place of the first element, if there are any. */
static place first_of(const nb_var *var)
{
    place p = {var, -1};
    advance(&p);
    return p;
}

/* Unit vectors at the next `lanes` elements of one end from p on; what comes out at the other end
 * goes to the rows, or forward to the columns, that `to` is the first of. */
static nb_code sweep(nbi_block *b, const nbi_dense *j, place *p, size_t left, size_t lanes,
                     double *to)
{
    const nb_var *other = j->forward ? j->out : j->in;
    const size_t n = j->forward ? j->n_out : j->n_in;
    const size_t step = j->forward ? j->columns : 1, apart = j->forward ? 1 : j->columns;
    nb_code code = NB_OK;
    nbi_block_begin(b, lanes);
    for (size_t l = 0; l < lanes && code == NB_OK; l++) {
        code = nbi_block_seed_one(b, *p->var, l, p->element, 1);
        if (l + 1 < left)
            advance(p);
    }
    if (code == NB_OK)
        code = nbi_block_run(b);
    for (size_t k = 0; k < n && code == NB_OK; k++) {
        for (size_t l = 0; l < lanes; l++)
            nbi_block_read(b, other[k], l, to + l * apart, step);
        to += (size_t)nb_size(other[k]) * step;
    }
    nbi_block_end(b);
    return code;
}

nb_code nbi_dense_fill(const nbi_dense *j, double *to)
{
    const size_t count = j->forward ? j->columns : j->rows;
    nbi_block b;
    if (!j->rows || !j->columns)
        return NB_OK;
    nb_code code = nbi_block_open(&b, j->what, j->t, j->forward, j->n_out, j->out, j->n_in, j->in);
    if (code != NB_OK)
        return code;
    place p = first_of(j->forward ? j->in : j->out);
    for (size_t at = 0; at < count && code == NB_OK; at += NBI_LANES) {
        const size_t left = count - at, lanes = left < NBI_LANES ? left : NBI_LANES;
        code = sweep(&b, j, &p, left, lanes, to + at * (j->forward ? 1 : j->columns));
    }
    nbi_block_close(&b);
    return code;
}

nb_code nb_jacobian(size_t n_out, const nb_var *out, size_t n_in, const nb_var *in,
                    nb_jacobian_mode mode, double *rows_by_columns)
{
    if (!n_out || !out || !n_in || !in || !rows_by_columns || (unsigned)mode > NB_JACOBIAN_REVERSE)
        return NB_ERR_ARGUMENT;
    nbi_dense j = {.what = "jacobian", .t = out[0].tape, .n_out = n_out, .out = out};
    j.n_in = n_in, j.in = in;
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
    const bool tall = j.columns < j.rows / 2; /* a forward sweep costs one to three reverse ones */
    j.forward = mode == NB_JACOBIAN_AUTO ? tall : mode == NB_JACOBIAN_FORWARD;
    return nbi_dense_fill(&j, rows_by_columns);
}
