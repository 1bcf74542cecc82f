/*
 * Segments and loops against the same code without them: bitwise the same gradients in every kind of
 * sweep, the same tangents and derivatives of derivatives; and every way of being refused.
 */
#include "checkpointed.h"

/* ---- the same as without --------------------------------------------------------------------- */

static void equal(const world *a, const world *b)
{
    double g[2][GRADS];
    const nb_var x[2][5] = {{a->s, a->u, a->w, a->b, a->x}, {b->s, b->u, b->w, b->b, b->x}};
    read_grads(a, g[0]);
    read_grads(b, g[1]);
    for (int k = 0; k < GRADS; k++)
        ck_assert_msg(!memcmp(&g[0][k], &g[1][k], sizeof g[0][k]), "gradient %d: %.17g, not %.17g",
                      k, g[1][k], g[0][k]);
    for (int k = 0; k < 5; k++)
        ck_assert_int_eq(nb_has_grad(x[0][k]), nb_has_grad(x[1][k]));
}

/* A model twice: plain, and in segments. */
typedef struct both {
    world m[2];
    nb_var f[2];
} both;

static void build_loop(both *p, int model, nb_dtype dtype, int64_t steps, int64_t memory)
{
    for (int k = 0; k < 2; k++) {
        populate(&p->m[k], nb_tape_new(&(nb_options){.dtype = dtype}), k == 0, steps, memory);
        p->f[k] = models[model](&p->m[k]);
        ck_assert_msg(nb_ok(p->f[k]), "%s", nb_message(p->m[k].t));
    }
    double v[2] = {nb_value(p->f[0]), nb_value(p->f[1])};
    ck_assert(!memcmp(&v[0], &v[1], sizeof *v));
    ck_assert(!memcmp(&p->m[0].rng, &p->m[1].rng, sizeof(nb_rng)));
}

static void build(both *p, int model, nb_dtype dtype) { build_loop(p, model, dtype, 11, 2); }

static void demolish(both *p)
{
    for (int k = 0; k < 2; k++) {
        ck_assert_str_eq(nb_message(p->m[k].t), "");
        nb_tape_free(p->m[k].t);
    }
}

static void sweep_both(both *p, const nb_sweep *how, size_t n_want)
{
    for (int k = 0; k < 2; k++) {
        const world *m = &p->m[k];
        const nb_var want[] = {m->w, m->s, m->x};
        const nb_rng rng = m->rng;
        const size_t count = nb_count(m->t);
        nb_sweep s = *how;
        s.out = &p->f[k];
        s.n_out = 1;
        s.want = want;
        s.n_want = n_want;
        ck_assert_int_eq(nb_backward_with(&s), NB_OK);
        ck_assert_uint_eq(nb_count(m->t), count);
        ck_assert(!memcmp(&m->rng, &rng, sizeof rng));
    }
}

START_TEST(sweeps)
{
    both p;
    static const double seed = -1.75;
    const double *const seeds[] = {&seed};
    build(&p, _i / 2, _i % 2 ? NB_F32 : NB_F64);
    for (int twice = 0; twice < 2; twice++) {
        sweep_both(&p, &(nb_sweep){0}, 0);
        equal(&p.m[0], &p.m[1]);
    }
    sweep_both(&p, &(nb_sweep){.seed = seeds, .accumulate = true}, 0);
    equal(&p.m[0], &p.m[1]);
    sweep_both(&p, &(nb_sweep){.accumulate = true}, 0);
    equal(&p.m[0], &p.m[1]);
    for (size_t want = 1; want < 4; want++) {
        sweep_both(&p, &(nb_sweep){0}, want);
        equal(&p.m[0], &p.m[1]);
    }
    nb_set_recording(p.m[1].t, false);
    nb_set_anomaly(p.m[1].t, true);
    sweep_both(&p, &(nb_sweep){0}, 0);
    equal(&p.m[0], &p.m[1]);
    ck_assert(!nb_set_recording(p.m[1].t, true));
    demolish(&p);
}
END_TEST

START_TEST(forward)
{
    both p;
    double f[2];
    build(&p, _i / 2, _i % 2 ? NB_F32 : NB_F64);
    for (size_t n = 1; n < 4; n++) {
        for (int k = 0; k < 2; k++) {
            const world *m = &p.m[k];
            ck_assert_int_eq(nb_forward(n, (nb_var[]){m->x, m->s, m->w}, NULL), NB_OK);
            f[k] = nb_tangent(p.f[k]);
        }
        ck_assert_msg(!memcmp(&f[0], &f[1], sizeof *f), "%.17g, not %.17g", f[1], f[0]);
    }
    demolish(&p);
}
END_TEST

/* Derivatives recorded through the model, and the derivative of their norm by a sweep. */
START_TEST(twice)
{
    both p;
    build(&p, _i / 2, _i % 2 ? NB_F32 : NB_F64);
    double g[2][GRADS], tol = _i % 2 ? 1e-5 : 1e-13;
    for (int k = 0; k < 2; k++) {
        world *m = &p.m[k];
        nb_var d[4], f;
        const nb_var by[] = {m->s, m->w, m->x, m->u};
        ck_assert_msg(nb_diff(1, &p.f[k], NULL, 4, by, d) == NB_OK, "%s", nb_message(m->t));
        f = nb_add(nb_mul(d[0], d[3]), nb_sum(nb_square(d[1])));
        ck_assert_int_eq(nb_backward(nb_add(f, nb_sum(nb_sin(d[2])))), NB_OK);
        read_grads(m, g[k]);
    }
    for (int k = 0; k < GRADS; k++)
        ck_assert_msg(fabs(g[0][k] - g[1][k]) <= tol * (1 + fabs(g[0][k])), "%d: %.17g, not %.17g",
                      k, g[1][k], g[0][k]);
    demolish(&p);
}
END_TEST

/* Blocks of seeds and of directions, with gradients of an earlier sweep left alone. */
START_TEST(blocks)
{
    both p;
    double J[2][2 * GRADS], before[2][GRADS], after[GRADS], tol = _i % 2 ? 1e-5 : 1e-13;
    build(&p, _i / 2, _i % 2 ? NB_F32 : NB_F64);
    sweep_both(&p, &(nb_sweep){0}, 0);
    for (int up = 0; up < 2; up++) {
        for (int k = 0; k < 2; k++) {
            const world *m = &p.m[k];
            const nb_var in[] = {m->s, m->u, m->w, m->b, m->x}, out[] = {p.f[k], nb_sin(p.f[k])};
            read_grads(m, before[k]);
            const nb_code code =
                nb_jacobian(2, out, 5, in, up ? NB_JACOBIAN_FORWARD : NB_JACOBIAN_REVERSE, J[k]);
            ck_assert_msg(code == NB_OK, "%s", nb_message(m->t));
            read_grads(m, after);
            ck_assert(!memcmp(before[k], after, sizeof after));
        }
        for (int i = 0; i < 2 * GRADS; i++)
            ck_assert_msg(fabs(J[0][i] - J[1][i]) <= tol * (1 + fabs(J[0][i])),
                          "%d: %.17g, not %.17g", i, J[1][i], J[0][i]);
    }
    demolish(&p);
}
END_TEST

static nb_code twist(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    const nb_var a = nb_sin(nb_mul(in[0], 0.3)), b = nb_exp(nb_mul(in[0], -0.7));
    out[0] = nb_add(nb_mul(a, b), nb_div(a, nb_add(nb_square(in[0]), 0.1)));
    return NB_OK;
}

/* A number's adjoint gets several contributions, in the segment and on either side of it: a block
 * adds them in the order of a sweep. */
START_TEST(blocks_bitwise)
{
    bool same = true;
    for (int i = 0; i < 100; i++) {
        double J[2][2], swept;
        nb_tape *t = nb_tape_new(NULL);
        nb_var x = nb_input(t, "x", 0.37 * i), y[2];
        const nb_var before = nb_tanh(nb_mul(x, 1.1));
        twist(NULL, &x, &y[0]);
        y[0] = nb_add(nb_add(nb_mul(y[0], nb_cos(x)), before), nb_mul(x, 0.7));
        nb_segment(&(nb_segment_spec){.name = "twist", .fn = twist}, 1, &x, 1, &y[1]);
        y[1] = nb_add(nb_add(nb_mul(y[1], nb_cos(x)), before), nb_mul(x, 0.7));
        for (int k = 0; k < 2; k++)
            ck_assert_int_eq(
                nb_jacobian(2, (nb_var[]){y[k], nb_mul(y[k], 3)}, 1, &x, NB_JACOBIAN_REVERSE, J[k]),
                NB_OK);
        nb_backward(y[1]);
        swept = nb_grad(x);
        same = same && !memcmp(J[0], J[1], sizeof J[0]) && !memcmp(&swept, J[1], sizeof swept);
        nb_tape_free(t);
    }
    ck_assert(same);
}
END_TEST

/* Second derivatives as numbers. */
START_TEST(hessians)
{
    both p;
    double H[2][4], Hv[2][2], tol = _i % 2 ? 1e-5 : 1e-12;
    static const double v[2] = {.5, -2};
    build(&p, _i / 2, _i % 2 ? NB_F32 : NB_F64);
    for (int k = 0; k < 2; k++) {
        const nb_var in[] = {p.m[k].s, p.m[k].u};
        ck_assert_int_eq(nb_hessian(p.f[k], 2, in, H[k]), NB_OK);
        ck_assert_int_eq(nb_hvp(p.f[k], 2, in, (const double *const[]){v, v + 1},
                                (double *const[]){Hv[k], Hv[k] + 1}),
                         NB_OK);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_msg(fabs(H[0][i] - H[1][i]) <= tol * (1 + fabs(H[0][i])), "%d: %.17g, not %.17g",
                      i, H[1][i], H[0][i]);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(fabs(Hv[0][i] - Hv[1][i]) <= tol * (1 + fabs(Hv[0][i])),
                      "%d: %.17g, not %.17g", i, Hv[1][i], Hv[0][i]);
    demolish(&p);
}
END_TEST

/* Any number of steps with any memory: as without, and as many calls as the theory needs. */
START_TEST(loops)
{
    static const int64_t steps[] = {1, 2, 3, 4, 5, 7, 12, 31, 70}, memory[] = {1, 2, 3, 5, 80};
    const int64_t T = steps[_i / 5], c = memory[_i % 5];
    for (int model = 5; model < 7; model++) {
        both p;
        build_loop(&p, model, NB_F64, T, c);
        ck_assert_int_eq(p.m[1].calls, T);
        sweep_both(&p, &(nb_sweep){0}, 0);
        equal(&p.m[0], &p.m[1]);
        ck_assert_int_eq(p.m[1].calls, nb_loop_calls(T, c));
        for (int64_t again = 1; again < 3; again++) {
            sweep_both(&p, &(nb_sweep){0}, 0);
            equal(&p.m[0], &p.m[1]);
            ck_assert_int_eq(p.m[1].calls, (again + 1) * nb_loop_calls(T, c) - again);
        }
        demolish(&p);
    }
}
END_TEST

int main(void)
{
    const int n = 2 * (int)COUNT(models);
    TCase *c = tcase_create("checkpoint");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, sweeps, 0, n);
    tcase_add_loop_test(c, forward, 0, n);
    tcase_add_loop_test(c, twice, 0, n);
    tcase_add_loop_test(c, blocks, 0, n);
    tcase_add_test(c, blocks_bitwise);
    tcase_add_loop_test(c, hessians, 0, n);
    tcase_add_loop_test(c, loops, 0, 9 * 5);
    return run_case("checkpoint", c);
}
