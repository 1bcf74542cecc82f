/*
 * The numbers of a sparse matrix: a sweep for each colour of its plan, a block of colours at a
 * time.
 */
#include "diff/sparse.h"

#include "diff/block.h"
#include "diff/dense.h"

/* The two ends of the sweeps: what is seeded and what is read. */
typedef struct ends {
    const nb_var *seeded, *read;
    const size_t *seeded_start, *read_start; /* the vars' first elements */
} ends;

static nb_code sweep(nb_sparse *s, nbi_block *b, const ends *e, uint32_t first, size_t lanes)
{
    nb_code code = NB_OK;
    nbi_block_begin(b, lanes);
    for (size_t l = 0; l < lanes; l++)
        for (size_t k = s->seed_start[first + l]; k < s->seed_start[first + l + 1] && !code; k++) {
            const uint32_t v = s->var[k];
            code = nbi_block_seed_one(b, e->seeded[v], l,
                                      (int64_t)(s->seed[k] - e->seeded_start[v]), 1);
        }
    if (code == NB_OK)
        code = nbi_block_run(b);
    const size_t *entries = s->entry_start + first / NBI_LANES;
    for (size_t k = entries[0]; k < entries[1] && code == NB_OK; k++) {
        const uint32_t v = s->read_var[s->from[k]];
        s->value[s->to[k]] =
            nbi_block_number(b, e->read[v], s->lane[k], s->from[k] - e->read_start[v]);
    }
    nbi_block_end(b);
    return code;
}

/* out by in: the function of the plan, or for a Hessian the gradient by the inputs. */
static nb_code fill(nb_sparse *s, nb_tape *t, size_t n_out, const nb_var *out, size_t n_in,
                    const nb_var *in)
{
    const size_t *out_start = s->hessian ? s->in_start : s->out_start;
    const ends e = s->forward ? (ends){in, out, s->in_start, out_start}
                              : (ends){out, in, out_start, s->in_start};
    nbi_block b;
    nb_code code = nbi_block_open(&b, "sparse", t, s->forward, n_out, out, n_in, in);
    if (code == NB_OK) {
        for (uint32_t c = 0; c < s->colours && code == NB_OK; c += NBI_LANES) {
            const size_t rest = s->colours - c;
            code = sweep(s, &b, &e, c, rest < NBI_LANES ? rest : NBI_LANES);
        }
        nbi_block_close(&b);
    }
    return code;
}

/* Whether the vars have the sizes that the plan was made for. */
static nb_code fits(nb_tape *t, const char *which, size_t n, const nb_var *x, size_t planned,
                    const size_t *start)
{
    if (n != planned)
        return nbi_fail(t, NB_ERR_SHAPE, "sparse: %zu %s, the plan has %zu", n, which, planned);
    for (size_t k = 0; start && k < n; k++)
        if ((size_t)nb_size(x[k]) != start[k + 1] - start[k])
            return nbi_fail(t, NB_ERR_SHAPE,
                            "sparse: var %zu of the %s has %lld elements, the plan has %zu", k,
                            which, (long long)nb_size(x[k]), start[k + 1] - start[k]);
    return NB_OK;
}

static nb_code hessian_values(nb_sparse *s, nb_tape *t, nb_var f, size_t n_in, const nb_var *in)
{
    nbi_gradient d = {.t = t, .n_in = n_in, .in = in};
    nb_code code = nbi_gradient_check(&d, "sparse", f);
    if (code != NB_OK)
        return code;
    code = nbi_gradient_open(&d, "sparse", f);
    if (code == NB_OK)
        code = fill(s, t, n_in, d.g, n_in, in);
    nbi_gradient_close(&d);
    return code;
}

nb_code nb_sparse_values(nb_sparse *s, size_t n_out, const nb_var *out, size_t n_in,
                         const nb_var *in)
{
    if (!s || !n_out || !out || !n_in || !in)
        return NB_ERR_ARGUMENT;
    nb_tape *t = out[0].tape;
    nb_code code = nbi_nodes(&t, "sparse", n_in, in);
    code = code ? code : nbi_nodes(&t, "sparse", n_out, out);
    code = code ? code : fits(t, "inputs", n_in, in, s->n_in, s->in_start);
    code = code ? code : fits(t, "outputs", n_out, out, s->n_out, s->hessian ? NULL : s->out_start);
    if (code != NB_OK)
        return code;
    if (nbi_busy(t, "sparse"))
        return t->code;
    return s->hessian ? hessian_values(s, t, out[0], n_in, in) : fill(s, t, n_out, out, n_in, in);
}
