/*
 * Models that are built either plainly or by segments and loops, for the tests of these.
 */
#ifndef NABLA_TESTS_CHECKPOINTED_H
#define NABLA_TESTS_CHECKPOINTED_H

#include "counting.h"

#include <math.h>
#include <stdint.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- models ---------------------------------------------------------------------------------- */

enum { CONTROLS = 8 };

/* What a model is made of: a few inputs, a captured var and a generator. */
typedef struct world {
    nb_tape *t;
    bool plain;    /* without segments */
    bool careless; /* errors may happen */
    nb_var s, u, w, b, x;
    nb_rng rng;
    int64_t steps, memory, calls; /* of a loop; the calls of any function */
    nb_var control[CONTROLS];     /* captured, by step */
} world;

static void populate(world *m, nb_tape *t, bool plain, int64_t steps, int64_t memory)
{
    static const double w[] = {.5, -.25, 1.5, .75, -1, .125, .3, .9, -.6};
    static const double b[] = {.1, -.2, .3}, x[] = {1, -2, .5};
    *m = (world){.t = t, .plain = plain, .rng = nb_rng_seed(7), .steps = steps, .memory = memory};
    m->s = nb_input(t, "s", .7);
    m->u = nb_input(t, "u", -1.3);
    m->w = nb_tensor(t, "w", NB_SHAPE(3, 3), w);
    m->b = nb_tensor(t, "b", NB_SHAPE(3), b);
    m->x = nb_tensor(t, "x", NB_SHAPE(3), x);
}

/* Calls fn as a segment, or directly. */
static void part(world *m, const char *name, nb_segment_fn *fn, size_t n_in, const nb_var *in,
                 size_t n_out, nb_var *out)
{
    nb_rng *const rng[] = {&m->rng};
    nb_segment_spec spec = {.name = name, .fn = fn, .context = m, .n_rng = 1, .rng = rng};
    nb_code code = m->plain ? fn(m, in, out) : nb_segment(&spec, n_in, in, n_out, out);
    ck_assert_msg(code == NB_OK || m->careless, "%s", nb_message(m->t));
}

static nb_code layer(void *context, const nb_var *in, nb_var *out)
{
    world *m = context;
    m->calls++;
    out[0] = nb_tanh(nb_affine(in[0], in[1], in[2]));
    return NB_OK;
}

static nb_code scalars(void *context, const nb_var *in, nb_var *out)
{
    nb_var a = nb_sin(nb_mul(in[0], in[1])), b = nb_exp(nb_mul(.5, in[1]));
    (void)context;
    out[0] = nb_add(nb_mul(a, b), in[0]);
    out[1] = nb_fma(a, in[0], nb_square(b));
    return NB_OK;
}

/* Mixed outputs, a captured var, random numbers. */
static nb_code mixed(void *context, const nb_var *in, nb_var *out)
{
    world *m = context;
    nb_var noise = nb_normal(m->t, NB_SHAPE(3), 0, 1, &m->rng);
    nb_var y = nb_mul(nb_add(in[0], nb_mul(noise, in[1])), m->s);
    out[0] = nb_softplus(y);
    out[1] = nb_dot_of(2, (nb_var[]){m->u, nb_sum(y)}, (nb_var[]){in[1], m->s});
    out[2] = nb_square(m->b);
    return NB_OK;
}

/* Outputs that are no nodes of the interior's own: an input, a captured var, one var twice, numbers,
 * constants. */
static nb_code passing(void *context, const nb_var *in, nb_var *out)
{
    world *m = context;
    out[0] = in[0];
    out[1] = m->b;
    out[2] = out[3] = nb_mul(in[0], m->s);
    out[4] = nb_num(2.5);
    out[5] = nb_full(m->t, NB_SHAPE(3), -.5);
    return NB_OK;
}

static nb_code inner(void *context, const nb_var *in, nb_var *out)
{
    world *m = context;
    nb_var y;
    part(m, "layer", layer, 3, (nb_var[]){in[0], m->w, m->b}, 1, &y);
    out[0] = nb_mul(y, in[1]);
    return NB_OK;
}

static nb_code outer(void *context, const nb_var *in, nb_var *out)
{
    world *m = context;
    nb_var y, z;
    part(m, "inner", inner, 2, (nb_var[]){in[0], m->s}, 1, &y);
    part(m, "inner", inner, 2, (nb_var[]){nb_add(y, in[0]), m->u}, 1, &z);
    out[0] = nb_sub(z, y);
    out[1] = nb_sum(y);
    return NB_OK;
}

static nb_var layers(world *m)
{
    nb_var x = m->x;
    for (int k = 0; k < 4; k++)
        part(m, "layer", layer, 3, (nb_var[]){x, m->w, m->b}, 1, &x);
    return nb_sum(nb_mul(x, nb_mul(m->s, m->u)));
}

static nb_var chain(world *m)
{
    nb_var y[2] = {m->s, m->u};
    for (int k = 0; k < 5; k++) {
        nb_var z[2];
        part(m, "scalars", scalars, 2, y, 2, z);
        y[0] = nb_tanh(z[1]);
        y[1] = nb_mul(.25, nb_sub(z[0], m->s));
    }
    return nb_add(y[0], nb_mul(y[1], nb_sum(m->x)));
}

static nb_var mixture(world *m)
{
    nb_var y[3], z[3];
    part(m, "mixed", mixed, 2, (nb_var[]){m->x, m->u}, 3, y);
    part(m, "mixed", mixed, 2, (nb_var[]){y[0], y[1]}, 3, z);
    return nb_add(nb_sum(nb_mul(z[0], y[2])), nb_mul(z[1], nb_mean(y[0])));
}

static nb_var passages(world *m)
{
    nb_var y[6];
    part(m, "passing", passing, 1, &m->x, 6, y);
    nb_var f = nb_sum(nb_mul(nb_mul(y[0], y[1]), nb_mul(y[2], y[3])));
    f = nb_add(f, nb_sum(nb_exp(nb_mul(y[3], y[5]))));
    return nb_add(nb_mul(nb_mul(f, y[4]), m->u), nb_sum(nb_mul(y[0], y[2])));
}

static nb_var nests(world *m)
{
    nb_var y[2], z[2];
    part(m, "outer", outer, 1, &m->x, 2, y);
    part(m, "outer", outer, 1, y, 2, z);
    return nb_add(nb_sum(nb_mul(z[0], y[0])), nb_mul(z[1], y[1]));
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* A recurrent step: tensor and scalars, a counter that needs no gradient, noise, captured controls. */
static nb_code recurrent(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    world *m = context;
    nb_var noise = nb_normal(m->t, NB_SHAPE(3), 0, .1, &m->rng);
    nb_var h = nb_tanh(nb_affine(in[0], in[3], in[4])), c = m->control[step % CONTROLS];
    m->calls++;
    out[0] = nb_add(h, nb_mul(noise, in[1]));
    out[1] = nb_add(nb_mul(.5, in[1]), nb_mul(nb_mean(h), c));
    out[2] = nb_add(in[2], .25);
    if (step % 3 == 1)
        out[1] = nb_fma(m->u, nb_sin(in[2]), out[1]);
    return NB_OK;
}

/* States that change places, are left alone, become one, or become an older var or a number. */
static nb_code restless(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    world *m = context;
    nb_var y = nb_mul(nb_add(in[0], nb_mul(in[1], in[2])), in[3]);
    m->calls++;
    out[0] = y;
    out[1] = nb_cos(y);
    switch (step % 5) {
    case 0: out[0] = in[1], out[1] = in[0]; break;
    case 1: out[0] = nb_sin(y), out[1] = nb_sub(in[0], in[4]); break;
    case 2: out[1] = y; break;
    case 3: out[1] = m->b; break;
    default: out[0] = in[0];
    }
    out[2] = step % 6 == 4 ? m->u : step % 6 == 3 ? nb_num(.5) : nb_tanh(nb_sum(y));
    return NB_OK;
}

static nb_var repeated(world *m, nb_step_fn *fn, nb_var *state, size_t n_shared,
                       const nb_var *shared)
{
    nb_rng *const rng[] = {&m->rng};
    nb_loop_spec spec = {.name = "cycle",
                         .fn = fn,
                         .context = m,
                         .n_rng = 1,
                         .rng = rng,
                         .steps = m->steps,
                         .memory = m->memory};
    if (!m->plain) {
        nb_code code = nb_loop(&spec, 3, state, n_shared, shared, state);
        ck_assert_msg(code == NB_OK || m->careless, "%s", nb_message(m->t));
    } else {
        nb_var in[8], out[3];
        memcpy(in, state, 3 * sizeof *in);
        memcpy(in + 3, shared, n_shared * sizeof *in);
        for (int64_t k = 0; k < m->steps; k++) {
            ck_assert_int_eq(fn(m, k, in, out), NB_OK);
            memcpy(in, out, sizeof out);
        }
        memcpy(state, in, 3 * sizeof *in);
    }
    return nb_add(nb_sum(nb_mul(state[0], state[1])), nb_sum(nb_mul(state[0], state[2])));
}

static nb_var recur(world *m)
{
    for (int k = 0; k < CONTROLS; k++)
        m->control[k] = nb_mul(m->u, nb_num(.3 * k - 1));
    nb_var state[] = {m->x, m->s, nb_num(.5)};
    return repeated(m, recurrent, state, 2, (nb_var[]){m->w, m->b});
}

static nb_var rest(world *m)
{
    nb_var state[] = {m->x, nb_exp(m->b), m->s};
    return repeated(m, restless, state, 2, (nb_var[]){m->s, m->x});
}

static nb_var (*const models[])(world *) = {layers, chain, mixture, passages, nests, recur, rest};

enum { GRADS = 17 };

static void read_grads(const world *m, double *g)
{
    g[0] = nb_grad(m->s);
    g[1] = nb_grad(m->u);
    ck_assert_int_eq(nb_read_grad(m->w, g + 2, 9), NB_OK);
    ck_assert_int_eq(nb_read_grad(m->b, g + 11, 3), NB_OK);
    ck_assert_int_eq(nb_read_grad(m->x, g + 14, 3), NB_OK);
}

#endif
