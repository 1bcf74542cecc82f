/*
 * Blocks of seeds and directions: each lane is what a sweep of its own gives, for every op of the
 * registry, for scalar graphs of every row, for rules of each kind that an op may have; zeros stay
 * zeros in their lane; earlier sweeps are left alone; what happens without memory, and what is
 * refused.
 */
#include "block.h"
#include "ops/elementwise.h"
#include "ops/registry.h"
#include "tape/sample.h"

/* ---- every op -------------------------------------------------------------------------------- */

/* Example k of the op as a function of its variable inputs, with a second output that leads to the
 * first input too, so that lanes are added to. */
static bool example(trial *c, const nb_op *op, int k)
{
    nb_sampler s = {.tape = c->t, .rng = nb_rng_seed((uint64_t)k)};
    nb_reset(c->t);
    nb_var y = op->sample(&s, k);
    if (nbi_is_inert(y))
        return false;
    c->n_in = c->n_out = 0;
    for (size_t j = 0; j < s.n; j++)
        if (!nbi_still(c->t, s.in[j].index))
            c->in[c->n_in++] = s.in[j];
    c->out[c->n_out++] = y;
    c->out[c->n_out++] = nb_mul(y, y);
    if (c->n_in)
        c->out[c->n_out++] = nb_mul(3, c->in[0]);
    return c->n_in > 0;
}

START_TEST(every_op)
{
    const nb_op *op = nbi_op_at((size_t)_i);
    for (int d = 0; d < 2; d++) {
        trial c = {.t = nb_tape_new(&(nb_options){.dtype = d ? NB_F32 : NB_F64})};
        for (int k = 0; example(&c, op, k); k++)
            agrees(&c, op->name, d ? 1e-6 : 1e-15);
        nb_tape_free(c.t);
    }
}
END_TEST

/* ---- scalar graphs --------------------------------------------------------------------------- */

/* Every row of the table as scalar nodes, by variables and by constants. */
START_TEST(every_row)
{
    const nbi_row_info *row = &nbi_rows[_i];
    for (int constant = -1; constant < row->arity; constant++) {
        trial c = {.t = nb_tape_new(NULL), .n_out = 2};
        nb_var x[3];
        for (int k = 0; k < row->arity; k++) {
            const double at = row->range[2 * k] + 0.4 * (row->range[2 * k + 1] - row->range[2 * k]);
            x[k] = k == constant ? nb_num(at) : nb_mul(c.in[c.n_in++] = nb_input(c.t, NULL, at), 1);
        }
        c.out[0] = nbi_row_call((enum nbi_row)_i, x);
        if (c.n_in) {
            c.out[1] = nb_mul(c.out[0], c.in[0]);
            agrees(&c, row->name, 0);
        }
        nb_tape_free(c.t);
    }
}
END_TEST

/* A long random graph of scalars, functions of many scalars and a tensor between them. */
static void random_graph(trial *c, nb_rng *r, size_t nodes)
{
    nb_var pool[32];
    c->n_in = 5;
    c->n_out = 6;
    for (size_t k = 0; k < c->n_in; k++)
        pool[k] = c->in[k] = nb_input(c->t, NULL, nb_rng_normal(r));
    for (size_t k = c->n_in; k < 32; k++)
        pool[k] = nb_sin(pool[nb_rng_below(r, k)]);
    for (size_t i = 0; i < nodes; i++) {
        nb_var a = pool[nb_rng_below(r, 32)], b = pool[nb_rng_below(r, 32)], y;
        switch (nb_rng_below(r, 9)) {
        case 0: y = nb_tanh(nb_add(a, b)); break;
        case 1: y = nb_cos(nb_mul(a, b)); break;
        case 2: y = nb_logsumexp_of(8, pool + 3); break;
        case 3: y = nb_tanh(nb_dot_of(5, pool, pool + 5)); break;
        case 4: y = nb_max_of(4, pool + 11); break;
        case 5: y = nb_sigmoid(nb_fma(a, b, 0.5)); break;
        case 6: y = nb_div(a, nb_add(2, nb_square(b))); break;
        case 7: y = nb_mean(nb_softmax(nb_stack(6, pool + 2, 0), 0)); break;
        default: y = nb_combine_of(3, (double[]){0.5, -0.25, 0}, pool + 20); break;
        }
        pool[nb_rng_below(r, 32)] = y;
    }
    for (size_t k = 0; k < c->n_out; k++)
        c->out[k] = pool[nb_rng_below(r, 32)];
}

START_TEST(random_scalars)
{
    nb_rng r = nb_rng_seed((uint64_t)_i);
    trial c = {.t = nb_tape_new(NULL)};
    random_graph(&c, &r, 400);
    agrees(&c, "a random graph", 1e-13);
    nb_tape_free(c.t);
}
END_TEST

/* ---- zeros ----------------------------------------------------------------------------------- */

/* sqrt and log at 0: an infinite derivative, and lanes with a seed of 0. */
START_TEST(zero_contributes_zero)
{
    nb_tape *t = nb_tape_new(NULL);
    static const double zero[2] = {0, 0}, seed[6] = {0, 0, 1, 0, 0, 0};
    nb_var x = nb_input(t, "x", 0), v = nb_tensor(t, "v", NB_SHAPE(2), zero);
    nb_var out[] = {nb_sqrt(x), nb_sqrt(v)}, in[] = {x, v};
    double gx[3], gv[6], dy[3], dv[6];
    ck_assert_int_eq(
        nb_vjp(2, out, 3, (const double *const[]){seed, seed}, 2, in, (double *const[]){gx, gv}),
        NB_OK);
    ck_assert_int_eq(
        nb_jvp(2, in, 3, (const double *const[]){seed, seed}, 2, out, (double *const[]){dy, dv}),
        NB_OK);
    for (int k = 0; k < 3; k++) {
        ck_assert_double_eq(gx[k], k == 2 ? (double)INFINITY : 0);
        ck_assert_double_eq(dy[k], k == 2 ? (double)INFINITY : 0);
    }
    for (int k = 0; k < 6; k++) {
        ck_assert_double_eq(gv[k], k == 2 ? (double)INFINITY : 0);
        ck_assert_double_eq(dv[k], k == 2 ? (double)INFINITY : 0);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- rules of each kind ---------------------------------------------------------------------- */

static nb_code cube_forward(const nb_call *c)
{
    const double *x = c->in[0].data;
    for (int64_t i = 0; i < c->out->size; i++)
        ((double *)c->out->data)[i] = x[i] * x[i] * x[i];
    return NB_OK;
}

static nb_code cube_reverse(const nb_rule *r)
{
    r->d[0] = nb_mul(nb_mul(3, r->g), nb_square(r->in[0]));
    return NB_OK;
}

/* Adds, and is given zeros to add to. */
static nb_code cube_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    const double *x = c->in[0].data, *d = g->data;
    (void)add;
    for (int64_t i = 0; i < c->out->size; i++)
        ((double *)gin[0]->data)[i] += 3 * x[i] * x[i] * d[i];
    return NB_OK;
}

static nb_code to_scalar(const nb_call *c, nb_shape *out)
{
    (void)c;
    out->rank = -1;
    return NB_OK;
}

static nb_code first_forward(const nb_call *c)
{
    *(double *)c->out->data = ((double *)c->in[0].data)[0];
    return NB_OK;
}

static nb_code first_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    (void)c, (void)add;
    *(double *)gin[0]->data += *(double *)g->data;
    return NB_OK;
}

static const nb_op by_graph = {.name = "cube", .forward = cube_forward, .reverse = cube_reverse},
                   by_arrays = {.name = "cube",
                                .forward = cube_forward,
                                .reverse_arrays = cube_arrays},
                   first = {.name = "first",
                            .shape = to_scalar,
                            .forward = first_forward,
                            .reverse_arrays = first_reverse},
                   without = {.name = "norule", .forward = cube_forward};

/* On a tensor and on a scalar, with operands that are inputs, interior, and the same twice. */
START_TEST(custom_rules)
{
    static const double x0[] = {1, -2, 3};
    trial c = {.t = nb_tape_new(NULL), .n_in = 3, .n_out = 4};
    c.in[0] = nb_tensor(c.t, "x", NB_SHAPE(3), x0);
    c.in[1] = nb_input(c.t, "s", 0.5);
    nb_var a = nb_apply(&by_graph, 1, c.in, NULL, 0), b = nb_apply(&by_arrays, 1, &a, NULL, 0);
    nb_var s = nb_apply(&by_arrays, 1, &c.in[1], NULL, 0), u = nb_apply(&by_graph, 1, &s, NULL, 0);
    c.in[2] = nb_tensor(c.t, "y", NB_SHAPE(3, 3), (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9});
    c.out[0] = nb_matmul(c.in[2], c.in[2]);
    c.out[1] = nb_add(nb_mul(b, b), u);
    c.out[2] = nb_apply(&first, 1, &a, NULL, 0);
    c.out[3] = nb_concat(3, (nb_var[]){a, b, a}, 0);
    agrees(&c, "custom rules", 1e-15);
    nb_tape_free(c.t);
}
END_TEST

/* ---- what takes part ------------------------------------------------------------------------- */

/* Interior inputs, inputs that depend on one another, constants, vars that are both, vars twice;
 * and an op without a rule beside the way. */
START_TEST(roles)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), u = nb_square(x), c = nb_constant(t, 3),
           alone = nb_input(t, "", 1);
    nb_var y = nb_mul(u, x), n = nb_apply(&without, 1, (nb_var[]){nb_exp(x)}, NULL, 0);
    nb_var in[] = {x, u, c, alone, x}, out[] = {y, u, y, c, alone};
    static const double one[] = {1, 1}, none[] = {0, 0};
    double g[5][2], d[5][2];
    ck_assert(nb_ok(n));
    ck_assert_int_eq(nb_vjp(5, out, 2, (const double *const[]){one, none, one, one, one}, 5, in,
                            (double *const[]){g[0], g[1], g[2], g[3], g[4]}),
                     NB_OK);
    ck_assert_int_eq(nb_jvp(5, in, 2, (const double *const[]){one, one, one, none, none}, 5, out,
                            (double *const[]){d[0], d[1], d[2], d[3], d[4]}),
                     NB_OK);
    for (int l = 0; l < 2; l++) {
        ck_assert_double_eq(g[0][l], 2 * 3 * 4); /* y = x^3, twice */
        ck_assert_double_eq(g[1][l], 2 * 2);
        ck_assert_double_eq(g[2][l], 0);
        ck_assert_double_eq(g[3][l], 1);
        ck_assert_double_eq(g[4][l], g[0][l]);
        ck_assert_double_eq(d[0][l], 3 * 4 + 2);
        ck_assert_double_eq(d[1][l], 4 + 1);
        ck_assert_double_eq(d[2][l], d[0][l]);
        ck_assert_double_eq(d[3][l], 0);
        ck_assert_double_eq(d[4][l], 0);
    }
    ck_assert_int_eq(nb_vjp(1, &n, 1, (const double *const[]){one}, 1, &x, (double *const[]){g[0]}),
                     NB_ERR_GRADIENT);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "norule"));
    nb_clear(t);
    ck_assert_int_eq(nb_jvp(1, &x, 1, (const double *const[]){one}, 1, &n, (double *const[]){g[0]}),
                     NB_ERR_GRADIENT);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "norule"));
    nb_tape_free(t);
}
END_TEST

/* Gradients and tangents of sweeps before are there as before. */
START_TEST(earlier_sweeps_stay)
{
    trial c = {.t = nb_tape_new(NULL)};
    nb_rng r = nb_rng_seed(3);
    double before[10], after[10];
    random_graph(&c, &r, 100);
    nb_var v = nb_tensor(c.t, "v", NB_SHAPE(2, 2), (double[]){1, 2, 3, 4});
    nb_var f = nb_add(c.out[0], nb_sum(nb_exp(v)));
    c.in[c.n_in++] = v;
    c.out[0] = f;
    open_trial(&c);
    draw(c.n_out, c.out, c.at_out[0], &r);
    draw(c.n_in, c.in, c.at_in[0], &r);
    size_t used[2];
    ck_assert_int_eq(nb_forward(1, &v, NULL), NB_OK);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    for (int turn = 0; turn < 4; turn++) {
        double *to = turn ? after : before;
        ck_assert_int_eq(nb_read_grad(v, to, 4), NB_OK);
        to[4] = nb_grad(c.in[0]);
        to[5] = nb_tangent(f);
        ck_assert(!turn || !memcmp(before, after, 6 * sizeof *before));
        ck_assert_int_eq(nb_vjp(c.n_out, c.out, SEEDS, (const double *const *)c.at_out[0], c.n_in,
                                c.in, c.at_in[1]),
                         NB_OK);
        ck_assert_int_eq(nb_jvp(c.n_in, c.in, SEEDS, (const double *const *)c.at_in[0], c.n_out,
                                c.out, c.at_out[1]),
                         NB_OK);
        used[turn > 1] = nb_tape_bytes(c.t);
    }
    ck_assert_uint_eq(used[0], used[1]);
    free(c.memory);
    nb_tape_free(c.t);
}
END_TEST

/* Anomaly mode names the node whose lanes are not finite. */
START_TEST(anomalies)
{
    nb_tape *t = nb_tape_new(&(nb_options){.anomaly = true});
    nb_var x = nb_input(t, "x", 0), y = nb_sqrt(x);
    static const double one = 1;
    double g;
    ck_assert_int_eq(nb_vjp(1, &y, 1, (const double *const[]){&one}, 1, &x, (double *const[]){&g}),
                     NB_ERR_ANOMALY);
    nb_clear(t);
    ck_assert_int_eq(nb_jvp(1, &x, 1, (const double *const[]){&one}, 1, &y, (double *const[]){&g}),
                     NB_ERR_ANOMALY);
    nb_tape_free(t);
}
END_TEST

/* ---- without memory, and what is refused -------------------------------------------------- */

START_TEST(without_memory)
{
    bool through = false;
    for (size_t k = 1; k < 400 && !through; k++) {
        counting a = {0};
        trial c = {.t = nb_tape_new(&(nb_options){
                       .allocator = counting_allocator(&a), .nodes = 16, .bytes = 64})};
        nb_rng r = nb_rng_seed(5);
        random_graph(&c, &r, 40);
        nb_var w = nb_tensor(c.t, "w", NB_SHAPE(3, 2), (double[]){1, 2, 3, 4, 5, 6});
        c.in[c.n_in++] = w;
        c.out[c.n_out++] = nb_tanh(nb_matmul_t(w, true, nb_mul(w, c.out[0]), false));
        open_trial(&c);
        draw(c.n_out, c.out, c.at_out[0], &r);
        draw(c.n_in, c.in, c.at_in[0], &r);
        a.refuse = a.calls + k;
        nb_code code = nb_vjp(c.n_out, c.out, SEEDS, (const double *const *)c.at_out[0], c.n_in,
                              c.in, c.at_in[1]);
        if (code == NB_OK)
            code = nb_jvp(c.n_in, c.in, SEEDS, (const double *const *)c.at_in[0], c.n_out, c.out,
                          c.at_out[1]);
        through = !a.refusals;
        ck_assert(code == NB_OK || code == NB_ERR_MEMORY); /* a smaller request may do */
        ck_assert_int_eq(nb_status(c.t), code);
        a.refuse = 0;
        nb_clear(c.t);
        free(c.memory);
        agrees(&c, "after a refusal", 1e-13);
        nb_tape_free(c.t);
        ck_assert_uint_eq(a.blocks, 0);
    }
    ck_assert(through);
}
END_TEST

static nb_code call(bool up, nb_var x, nb_var y)
{
    static const double one = 1;
    double g;
    const double *const seed[] = {&one};
    double *const to[] = {&g};
    return up ? nb_jvp(1, &x, 1, seed, 1, &y, to) : nb_vjp(1, &y, 1, seed, 1, &x, to);
}

START_TEST(refusals)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y = nb_exp(x), foreign = nb_input(other, "z", 1);
    nb_mark m = nb_tape_mark(t);
    nb_var stale = nb_exp(y);
    nb_rewind(m);
    const nb_var bad[] = {nb_num(2), stale, foreign, NB_NONE, nb_add(x, foreign)};
    nb_clear(t);
    for (size_t k = 0; k < COUNT(bad); k++)
        for (int side = 0; side < 2; side++) {
            ck_assert_int_eq(call(_i, side ? bad[k] : x, side ? y : bad[k]), NB_ERR_HANDLE);
            ck_assert(k || nb_status(t) == NB_ERR_HANDLE); /* a number has no tape to tell */
            nb_clear(t);
        }
    const double one = 1, *seed = &one, *null = NULL;
    double g, *to = &g, *nowhere = NULL;
    ck_assert_int_eq(nb_vjp(0, &y, 1, &seed, 1, &x, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, NULL, 1, &seed, 1, &x, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, NULL, 1, &x, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, &null, 1, &x, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, &seed, 0, &x, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, &seed, 1, NULL, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, &seed, 1, &x, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_vjp(1, &y, 1, &seed, 1, &x, &nowhere), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jvp(1, &x, 1, &null, 1, &y, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jvp(1, &x, SIZE_MAX / 4, &seed, 1, &y, &to), NB_ERR_OVERFLOW);
    nb_clear(t);
    ck_assert_int_eq(nb_vjp(1, &y, 0, &null, 1, &x, &nowhere), NB_OK);
    ck_assert_int_eq(call(_i, x, y), NB_OK);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("block");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_op, 0, (int)nbi_op_count());
    tcase_add_loop_test(c, every_row, 0, NBI_ROWS);
    tcase_add_loop_test(c, random_scalars, 0, 12);
    tcase_add_test(c, zero_contributes_zero);
    tcase_add_test(c, custom_rules);
    tcase_add_test(c, roles);
    tcase_add_test(c, earlier_sweeps_stay);
    tcase_add_test(c, anomalies);
    tcase_add_test(c, without_memory);
    tcase_add_loop_test(c, refusals, 0, 2);
    return run_case("block", c);
}
