/*
 * Second derivatives: the Hessian, dense, and its product with a vector.
 *
 * The gradient of f is recorded as graph (grad.c), once; H is its Jacobian. As H is symmetric, a
 * reverse sweep over the gradient graph serves for both:
 *
 *     with the seed e_i on the gradient   e_i'H    row i of H
 *     with the seed v                      v'H  =  (Hv)'
 *
 * So Hv costs the recording of one gradient and one sweep over it, whatever the number of
 * inputs: a small constant times the gradient itself. (Among scalars alone there is a shorter way,
 * which records nothing: second.c.) The rows of H come from sweeps of unit seeds in
 * blocks. What lies right of the diagonal is mirrored, so that H is symmetric to the last bit.
 *
 * The gradient graph is forgotten before returning. It lies above all handles that the caller can
 * have, so no epoch ends with it: truncation, not rewind.
 */
#include "diff/dense.h"
#include "diff/second.h"

nb_code nbi_gradient_check(nbi_gradient *d, const char *what, nb_var f)
{
    nb_code code = nbi_nodes(&d->t, what, d->n_in, d->in);
    if (code == NB_OK)
        code = nbi_nodes(&d->t, what, 1, &f);
    if (code == NB_OK && nb_size(f) != 1)
        code = nbi_fail(d->t, NB_ERR_SHAPE, "%s: node %u has %lld elements; it must be a number",
                        what, f.index, (long long)nb_size(f));
    if (code == NB_OK)
        code = nbi_elements(d->t, what, d->n_in, d->in, &d->elements);
    if (code == NB_OK && nbi_busy(d->t, what))
        code = d->t->code;
    return code;
}

/* Also while the caller's recording is off: the gradient is to be differentiated. */
nb_code nbi_gradient_open(nbi_gradient *d, const char *what, nb_var f)
{
    d->before = nb_tape_mark(d->t);
    d->scratch = d->t->scratch.at;
    d->g = nbi_scratch(d->t, d->n_in * sizeof *d->g);
    if (!d->g)
        return nbi_no_memory(d->t, what);
    bool recording = nb_set_recording(d->t, true);
    nb_code code = nb_diff(1, &f, NULL, d->n_in, d->in, d->g);
    nb_set_recording(d->t, recording);
    return code;
}

void nbi_gradient_close(nbi_gradient *d)
{
    nbi_truncate(d->t, &d->before);
    nbi_give_back(&d->t->scratch, d->scratch);
}

nb_code nb_hessian(nb_var f, size_t n_in, const nb_var *in, double *out)
{
    if (!n_in || !in || !out)
        return NB_ERR_ARGUMENT;
    nbi_gradient d = {.t = f.tape, .n_in = n_in, .in = in};
    nb_code code = nbi_gradient_check(&d, "hessian", f);
    if (code == NB_OK)
        code = nbi_matrix_fits(d.t, "hessian", d.elements, d.elements);
    if (code != NB_OK)
        return code;
    code = nbi_gradient_open(&d, "hessian", f);
    if (code == NB_OK)
        code = nbi_dense_fill(
            &(nbi_dense){"hessian", d.t, false, n_in, n_in, d.elements, d.elements, d.g, in}, out);
    nbi_gradient_close(&d);
    for (size_t i = 1; i < d.elements && code == NB_OK; i++)
        for (size_t j = 0; j < i; j++)
            out[i * d.elements + j] = out[j * d.elements + i];
    return code;
}

nb_code nb_hvp(nb_var f, size_t n_in, const nb_var *in, const double *const *v, double *const *out)
{
    if (!n_in || !in || !v || !out)
        return NB_ERR_ARGUMENT;
    for (size_t k = 0; k < n_in; k++)
        if (!v[k] || !out[k])
            return NB_ERR_ARGUMENT;
    nbi_gradient d = {.t = f.tape, .n_in = n_in, .in = in};
    nb_code code = nbi_gradient_check(&d, "hvp", f);
    if (code != NB_OK || nbi_second(f, n_in, in, v, out))
        return code;
    code = nbi_gradient_open(&d, "hvp", f);
    if (code == NB_OK)
        code = nb_backward_with(
            &(nb_sweep){.n_out = n_in, .out = d.g, .seed = v, .n_want = n_in, .want = in});
    nbi_gradient_close(&d);
    for (size_t k = 0; k < n_in && code == NB_OK; k++)
        code = nb_read_grad(in[k], out[k], nb_size(in[k]));
    return code;
}
