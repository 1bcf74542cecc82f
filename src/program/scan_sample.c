/*
 * Example calls of nb_scan, for the laws: lanes that share what they are given, and lanes that do not.
 *
 *     filter      s' = tanh(w s + x),  y = s x
 *     pendulum    (a, b)' = (a + b / 4, b - k sin(a) / 4),  y = the sum over the lanes of a b
 */
#include "program/scan.h"

#include <nabla/map.h>
#include <nabla/ops.h>

static nb_program *freeze_filter(nb_tape *t)
{
    nb_var s = nb_input(t, "s", 1), x = nb_input(t, "x", 1), w = nb_input(t, "w", 1);
    nb_var next = nb_tanh(nb_add(nb_mul(w, s), x)), y = nb_mul(s, x);
    const nb_argument in[] = {{.name = "s", .count = 1, .var = &s},
                              {.name = "x", .count = 1, .var = &x},
                              {.name = "w", .count = 1, .var = &w}};
    const nb_argument out[] = {{.name = "s'", .count = 1, .var = &next},
                               {.name = "y", .count = 1, .var = &y}};
    return nb_freeze(&(nb_recipe){.n_in = 3, .in = in, .n_out = 2, .out = out});
}

static nb_program *freeze_pendulum(nb_tape *t)
{
    nb_var s[2] = {nb_input(t, "a", 1), nb_input(t, "b", 1)}, k = nb_input(t, "k", 1);
    nb_var quarter = nb_num(0.25), y = nb_mul(s[0], s[1]);
    nb_var next[2] = {nb_add(s[0], nb_mul(quarter, s[1])),
                      nb_sub(s[1], nb_mul(quarter, nb_mul(k, nb_sin(s[0]))))};
    const nb_argument in[] = {{.name = "s", .count = 2, .var = s},
                              {.name = "k", .count = 1, .var = &k}};
    const nb_argument out[] = {{.name = "s'", .count = 2, .var = next},
                               {.name = "y", .count = 1, .var = &y, .sum = true}};
    return nb_freeze(&(nb_recipe){.n_in = 2, .in = in, .n_out = 2, .out = out});
}

nb_var nbi_scan_sample(nb_sampler *s, int k)
{
    static const struct {
        bool pendulum;
        int64_t steps;
        nb_shape in[3];
    } example[] = {
        {false, 3, {{-1, {0}}, {1, {3}}, {-1, {0}}}},
        {false, 2, {{1, {2}}, {2, {2, 2}}, {-1, {0}}}},
        {false, 2, {{-1, {0}}, {1, {2}}, {1, {3}}}},
        {false, 3, {{2, {2, 1}}, {2, {3, 2}}, {1, {2}}}},
        {false, 0, {{1, {2}}, {1, {0}}, {-1, {0}}}},
        {false, 2, {{1, {0}}, {1, {2}}, {-1, {0}}}},
        {true, 3, {{1, {2}}, {-1, {0}}}},
        {true, 2, {{2, {3, 2}}, {1, {3}}}},
        {true, 2, {{1, {2}}, {2, {2, 1}}}},
    };
    if (k >= (int)(sizeof example / sizeof *example))
        return NB_NONE;
    nb_tape *t = nb_tape_new(NULL);
    const bool pendulum = example[k].pendulum;
    nb_program *p = !t ? NULL : pendulum ? freeze_pendulum(t) : freeze_filter(t);
    nb_tape_free(t);
    nb_var x[3], y[2] = {nbi_inert(s->tape), NB_NONE};
    for (int i = 0; i < 3 - pendulum; i++) {
        const nb_shape shape = example[k].in[i];
        x[i] = shape.rank < 0 ? nb_sample_scalar(s, -1, 1) : nb_sample(s, shape, -1, 1);
    }
    const nb_scan_spec spec = {
        .step = p, .steps = example[k].steps, .n_state = 1, .n_each = !pendulum};
    if (!p)
        nbi_no_memory(s->tape, "scan");
    else if (nb_scan(&spec, 3 - pendulum, x, y) == NB_OK)
        y[0] = nb_add(nb_sum(nb_mul(y[0], y[0])), nb_sum(y[1]));
    nb_program_free(p);
    return y[0];
}
