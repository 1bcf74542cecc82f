/*
 * Example calls of nb_map, for the laws: small programs over operands that broadcast in every manner.
 *
 *     product    tanh(w x) + w / 2                  of numbers
 *     vectors    (u0 u1 c + exp(u2 / 2), sin(u0) / (c^2 + 1))
 *     several    x w^2, and the sum over all lanes of (x - w) w
 *     total      the sum over all lanes of cos(x) w
 */
#include "program/map.h"

#include <nabla/map.h>
#include <nabla/ops.h>

enum { PRODUCT, VECTORS, SEVERAL, TOTAL };

static nb_program *freeze_vectors(nb_tape *t)
{
    nb_var u[3], c = nb_input(t, "c", 1), y[2];
    for (int e = 0; e < 3; e++)
        u[e] = nb_input(t, "u", 1);
    y[0] = nb_add(nb_mul(nb_mul(u[0], u[1]), c), nb_exp(nb_mul(u[2], nb_num(0.5))));
    y[1] = nb_div(nb_sin(u[0]), nb_add(nb_mul(c, c), nb_num(1)));
    const nb_argument in[] = {{.name = "u", .count = 3, .var = u},
                              {.name = "c", .count = 1, .var = &c}};
    const nb_argument out = {.name = "y", .count = 2, .var = y};
    return nb_freeze(&(nb_recipe){.n_in = 2, .in = in, .n_out = 1, .out = &out});
}

static nb_program *freeze_numbers(nb_tape *t, int which)
{
    nb_var x = nb_input(t, "x", 1), w = nb_input(t, "w", 1), y[2];
    const nb_argument in[] = {{.name = "x", .count = 1, .var = &x},
                              {.name = "w", .count = 1, .var = &w}};
    nb_argument out[] = {{.name = "y", .count = 1, .var = y},
                         {.name = "z", .count = 1, .var = y + 1, .sum = true}};
    y[0] = which == PRODUCT ? nb_add(nb_tanh(nb_mul(w, x)), nb_mul(w, nb_num(0.5)))
           : which == TOTAL ? nb_mul(nb_cos(x), w)
                            : nb_mul(x, nb_mul(w, w));
    y[1] = nb_mul(nb_sub(x, w), w);
    out[0].sum = which == TOTAL;
    return nb_freeze(
        &(nb_recipe){.n_in = 2, .in = in, .n_out = which == SEVERAL ? 2 : 1, .out = out});
}

nb_var nbi_map_sample(nb_sampler *s, int k)
{
    static const struct {
        int which;
        nb_shape a, b;
    } example[] = {
        {PRODUCT, {2, {3, 4}}, {2, {3, 4}}},     {PRODUCT, {2, {3, 4}}, {1, {4}}},
        {PRODUCT, {2, {3, 1}}, {2, {3, 5}}},     {PRODUCT, {3, {2, 1, 3}}, {2, {4, 1}}},
        {PRODUCT, {2, {2, 3}}, {-1, {0}}},       {PRODUCT, {-1, {0}}, {-1, {0}}},
        {PRODUCT, {2, {0, 3}}, {1, {3}}},        {VECTORS, {2, {4, 3}}, {1, {4}}},
        {VECTORS, {1, {3}}, {1, {5}}},           {VECTORS, {3, {2, 1, 3}}, {1, {4}}},
        {VECTORS, {1, {3}}, {-1, {0}}},          {SEVERAL, {2, {3, 4}}, {2, {3, 1}}},
        {SEVERAL, {1, {1}}, {2, {2, 3}}},        {SEVERAL, {-1, {0}}, {1, {2}}},
        {TOTAL, {4, {2, 1, 3, 1}}, {2, {1, 2}}}, {TOTAL, {1, {5}}, {-1, {0}}},
    };
    if (k >= (int)(sizeof example / sizeof *example))
        return NB_NONE;
    nb_tape *t = nb_tape_new(NULL);
    const int which = example[k].which;
    nb_program *p = !t ? NULL : which == VECTORS ? freeze_vectors(t) : freeze_numbers(t, which);
    nb_tape_free(t);
    nb_var x[2], y[2];
    for (int i = 0; i < 2; i++) {
        const nb_shape shape = i ? example[k].b : example[k].a;
        x[i] = shape.rank < 0 ? nb_sample_scalar(s, -1, 1) : nb_sample(s, shape, -1, 1);
    }
    if (!p)
        y[0] = nbi_no_memory(s->tape, "map") ? nbi_inert(s->tape) : NB_NONE;
    else if (which != SEVERAL)
        y[0] = nb_map(p, 2, x);
    else
        y[0] = nb_map_all(p, 2, x, y) == NB_OK ? nb_mul(y[0], y[1]) : y[0];
    nb_program_free(p);
    return y[0];
}
