/*
 * nabla/region.h: rules of your own over whole regions of graph, and hooks on adjoints.
 *
 * A region is a function written as ordinary graph code that comes with its own reverse rule, also
 * graph code. Differentiation sees the rule and never the function's inside: one node stands for
 * all of it. That is the place for a derivative that is simpler, more accurate or cheaper than what
 * the function's steps give, and for one that is not its derivative at all.
 *
 *     static nb_code forward(void *context, const nb_var *in, nb_var *out)
 *     {
 *         out[0] = nb_log(nb_add(1, nb_exp(in[0])));
 *         return NB_OK;
 *     }
 *     static nb_code reverse(void *context, const nb_region_rule *r)
 *     {
 *         r->d[0] = nb_mul(r->g[0], nb_sigmoid(r->in[0]));
 *         return NB_OK;
 *     }
 *     static const nb_region_spec log1pexp = {
 *         .name = "log1pexp", .forward = forward, .reverse = reverse};
 *     nb_var y;
 *     nb_region(&log1pexp, 1, &x, 1, &y);
 *
 * An operation that is not graph code at all is a record of its own: nabla/op.h.
 */
#ifndef NABLA_REGION_H
#define NABLA_REGION_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- regions --------------------------------------------------------------------------------- */

/* What a reverse rule sees. g[j] is the adjoint of out[j], with its shape. For each k with want[k],
 * d[k] is to be set to the adjoint of in[k], in a shape that in[k] broadcasts to or that broadcasts
 * to in[k]'s, or left alone if no gradient flows. */
typedef struct nb_region_rule {
    nb_tape *tape;
    size_t n_in, n_out;
    const nb_var *in, *out, *g;
    const bool *want;
    nb_var *d;
} nb_region_rule;

typedef struct nb_region_spec {
    const char *name; /* of the node, in messages too; it must live as long as the node */
    const char *doc;  /* one line, or NULL */

    /* Sets out[0] … from in[0] …. It is called once, with recording off. What varies and is not
     * among the operands must not be used: its gradient would be lost, so it is an error. Vars that
     * it makes are stale when it has returned; what the rule needs of them can be a result. */
    nb_code (*forward)(void *context, const nb_var *in, nb_var *out);

    /* The adjoints of the operands, linear in g, as graph code: recorded, and so differentiated
     * again, where the caller asks for derivatives as graph; evaluated and forgotten in a sweep.
     * Forward mode applies it twice. It may use whatever is on the tape. As a sweep records nothing,
     * nb_diff finds no path through what the rule makes. NULL: a gradient through the region is an
     * error. */
    nb_code (*reverse)(void *context, const nb_region_rule *r);

    void
        *context; /* handed to both. Where context_bytes is 0, it must live as long as the node … */
    size_t
        context_bytes; /* … otherwise so many bytes of it are copied, and the reverse rule gets these */
} nb_region_spec;

/* Evaluates the function on in[0..n_in) and records one node for it. Operands and results may be
 * scalars and tensors, mixed. Several results are parts of one vector node in the tape's dtype, so
 * on a tape of floats a scalar among several is rounded to float. On an error all results are
 * inert, and the message names the region. out may be the array `in`. */
NB_API nb_code nb_region(const nb_region_spec *spec, size_t n_in, const nb_var *in, size_t n_out,
                         nb_var *out);

/* ---- hooks on adjoints ----------------------------------------------------------------------- */

/* Each returns x's value, bit for bit, as a new node (a tensor shares x's storage), and changes the
 * adjoint that comes back to x; of scalars and tensors alike. What they do to the adjoint is graph
 * code: second derivatives go through it. Forward mode has no adjoints to change, so the hooks that
 * are not linear in the adjoint (clipping, nb_hook) leave tangents as they are; the linear ones act
 * on tangents too, so that the modes agree. To stop a gradient: nb_detach. */

/* The value of the first, the gradient to the second, which has the same shape: a rounding, say,
 * that passes its gradient on as if it were not there: nb_straight_through(nb_round(x), x). */
NB_API nb_var nb_straight_through(nb_var value, nb_var through);
/* The adjoint times c. */
NB_API nb_var nb_scale_gradient(nb_var x, double c);
/* The adjoint times -scale: what stands before ascends where the rest descends. */
NB_API nb_var nb_reverse_gradient(nb_var x, double scale);
/* Each element of the adjoint clamped to [low, high]. */
NB_API nb_var nb_clip_gradient(nb_var x, double low, double high);
/* The adjoint scaled down to Euclidean norm limit where its norm is greater; limit is above 0. */
NB_API nb_var nb_clip_gradient_norm(nb_var x, double limit);

/* The adjoint as fn returns it, which gets the whole adjoint of x's new node, in its shape, once per
 * sweep that reaches it, and answers by graph code as a reverse rule does; NB_NONE stops it. A sweep
 * gives it constants. context must live as long as the node. */
typedef nb_var (*nb_hook_fn)(void *context, nb_var g);
NB_API nb_var nb_hook(nb_var x, nb_hook_fn fn, void *context);

/* The adjoint as it is, after fn has seen it. */
typedef void (*nb_watch_fn)(void *context, nb_var g);
NB_API nb_var nb_watch_gradient(nb_var x, nb_watch_fn fn, void *context);

#ifdef __cplusplus
}
#endif
#endif
