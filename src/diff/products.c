/*
 * Products of the Jacobian with a block of vectors: J V, forward, and U J, backward.
 *
 * The two are one walk over a block (block.h) with the roles of inputs and outputs exchanged: seed
 * at one end, run, read at the other, so many lanes at a time.
 */
#include "diff/block.h"
#include "diff/dense.h"

/* Where a block goes in and where it comes out: [count, elements of the var] each. */
typedef struct ends {
    size_t n;
    const nb_var *var;
    const double *const *seed;
    double *const *result;
} ends;

static bool complete(size_t n, const nb_var *var, const void *list) { return n && var && list; }

static nb_code sweep(nbi_block *b, const ends *from, const ends *to, size_t first, size_t lanes)
{
    nb_code code = NB_OK;
    nbi_block_begin(b, lanes);
    for (size_t k = 0; k < from->n; k++) {
        const size_t size = (size_t)nb_size(from->var[k]);
        for (size_t l = 0; l < lanes && code == NB_OK; l++)
            code = nbi_block_seed(b, from->var[k], l, from->seed[k] + (first + l) * size);
    }
    if (code == NB_OK)
        code = nbi_block_run(b);
    for (size_t k = 0; k < to->n && code == NB_OK; k++) {
        const size_t size = (size_t)nb_size(to->var[k]);
        for (size_t l = 0; l < lanes; l++)
            nbi_block_read(b, to->var[k], l, to->result[k] + (first + l) * size, 1);
    }
    nbi_block_end(b);
    return code;
}

static nb_code product(const char *what, bool forward, size_t count, const ends *from,
                       const ends *to)
{
    nb_tape *t = from->var[0].tape ? from->var[0].tape : to->var[0].tape;
    size_t elements;
    nb_code code = nbi_nodes(&t, what, from->n, from->var);
    code = code ? code : nbi_nodes(&t, what, to->n, to->var);
    code = code ? code : nbi_elements(t, what, from->n, from->var, &elements);
    code = code ? code : nbi_matrix_fits(t, what, count, elements);
    code = code ? code : nbi_elements(t, what, to->n, to->var, &elements);
    code = code ? code : nbi_matrix_fits(t, what, count, elements);
    if (code != NB_OK)
        return code;
    if (nbi_busy(t, what))
        return t->code;
    const ends *out = forward ? to : from, *in = forward ? from : to;
    nbi_block b;
    code = nbi_block_open(&b, what, t, forward, out->n, out->var, in->n, in->var);
    if (code != NB_OK)
        return code;
    for (size_t first = 0; first < count && code == NB_OK; first += NBI_LANES) {
        const size_t rest = count - first;
        code = sweep(&b, from, to, first, rest < NBI_LANES ? rest : NBI_LANES);
    }
    nbi_block_close(&b);
    return code;
}

/* No entry of the lists is NULL, unless there is nothing to be found there. */
static bool filled(const ends *from, const ends *to, size_t count)
{
    for (size_t k = 0; k < from->n && count; k++)
        if (!from->seed[k])
            return false;
    for (size_t k = 0; k < to->n && count; k++)
        if (!to->result[k])
            return false;
    return true;
}

nb_code nb_jvp(size_t n_in, const nb_var *in, size_t directions, const double *const *dx,
               size_t n_out, const nb_var *out, double *const *dy)
{
    const ends from = {n_in, in, dx, NULL}, to = {n_out, out, NULL, dy};
    if (!complete(n_in, in, dx) || !complete(n_out, out, dy) || !filled(&from, &to, directions))
        return NB_ERR_ARGUMENT;
    return product("jvp", true, directions, &from, &to);
}

nb_code nb_vjp(size_t n_out, const nb_var *out, size_t seeds, const double *const *seed,
               size_t n_in, const nb_var *in, double *const *grad)
{
    const ends from = {n_out, out, seed, NULL}, to = {n_in, in, NULL, grad};
    if (!complete(n_out, out, seed) || !complete(n_in, in, grad) || !filled(&from, &to, seeds))
        return NB_ERR_ARGUMENT;
    return product("vjp", false, seeds, &from, &to);
}
