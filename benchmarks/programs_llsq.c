/*
 * Least squares, linear in the coefficients of a polynomial: n = 4096, m = 128,
 *
 *     y(x) = 1/2 sum_i (s_i - x_0 - x_1 t_i - x_2 t_i^2 - ...)^2,
 *     t_i from -1 to 1,  s_i = sign t_i;
 *
 * y and its gradient by x. The program has a sample as its lane and the coefficients shared; gradients
 * are summed.
 */
#include "programs.h"

enum { SAMPLES = 4096, TERMS = 128, FEW = 32 };

typedef struct fit {
    size_t n;
    double *t, *s, *x; /* [n], [n], [TERMS] */
    double y, hand_y, nabla_y;
    double *hand_g, *g; /* [TERMS] */
    nb_program *gradient;
} fit;

static void primal(void *data)
{
    fit *f = data;
    f->y = 0;
    for (size_t i = 0; i < f->n; i++) {
        double power = 1, e = f->s[i];
        for (int j = 0; j < TERMS; j++) {
            e -= f->x[j] * power;
            power *= f->t[i];
        }
        f->y += 0.5 * e * e;
    }
}

static void hand(void *data)
{
    fit *f = data;
    double power[TERMS];
    f->hand_y = 0;
    memset(f->hand_g, 0, TERMS * sizeof *f->hand_g);
    for (size_t i = 0; i < f->n; i++) {
        double e = f->s[i];
        power[0] = 1;
        for (int j = 1; j < TERMS; j++)
            power[j] = power[j - 1] * f->t[i];
        for (int j = 0; j < TERMS; j++)
            e -= f->x[j] * power[j];
        for (int j = 0; j < TERMS; j++)
            f->hand_g[j] -= e * power[j];
        f->hand_y += 0.5 * e * e;
    }
}

static nb_var record(nb_var t, nb_var s, const nb_var *x)
{
    nb_var power = nb_num(1), e = s;
    for (int j = 0; j < TERMS; j++) {
        e = nb_sub(e, nb_mul(x[j], power));
        power = j ? nb_mul(power, t) : t;
    }
    return nb_mul(0.5, nb_square(e));
}

static void make(fit *f)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[2 + TERMS];
    programs_inputs(t, 1, f->t, in);
    programs_inputs(t, 1, f->s, in + 1);
    programs_inputs(t, TERMS, f->x, in + 2);
    nb_var y = record(in[0], in[1], in + 2);
    const nb_argument of[] = {each("t", 1, in), each("s", 1, in + 1), shared("x", TERMS, in + 2)};
    const bool by[] = {false, false, true};
    f->gradient = programs_freeze_derived(t, 3, of, summed("y", 1, &y), nb_program_gradient, by);
    nb_tape_free(t);
}

static void nabla(void *data)
{
    fit *f = data;
    const nb_lanes in[] = {dense(f->t), dense(f->s), dense(f->x)};
    const nb_lanes out[] = {dense(&f->nabla_y), dense(f->g)};
    programs_run(f->gradient, (int64_t)f->n, in, out);
}

static bool eager(const fit *f, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[TERMS], y = nb_constant(t, 0);
    programs_inputs(t, TERMS, f->x, x);
    for (size_t i = 0; i < f->n; i++)
        y = nb_add(y, record(nb_constant(t, f->t[i]), nb_constant(t, f->s[i]), x));
    const bool ok = nb_backward(y) == NB_OK;
    for (int j = 0; j < TERMS; j++)
        g[j] = nb_grad(x[j]);
    nb_tape_free(t);
    return ok;
}

static bool right(fit *f)
{
    primal(f);
    hand(f);
    nabla(f);
    bool ok = bench_agree("llsq, by hand", 1, &f->hand_y, &f->y, 1e-12) &&
              bench_agree("llsq", 1, &f->nabla_y, &f->y, 1e-12) &&
              bench_agree("llsq, gradient", TERMS, f->g, f->hand_g, 1e-10);
    f->n = FEW;
    nabla(f);
    ok = ok && eager(f, f->hand_g) && bench_agree("llsq, tape", TERMS, f->g, f->hand_g, 1e-10);
    f->n = SAMPLES;
    return ok;
}

bool bench_llsq(bool quick)
{
    fit f = {.n = SAMPLES,
             .t = bench_numbers(2 * SAMPLES),
             .x = programs_random(TERMS, -1, 1, 5),
             .hand_g = bench_numbers(2 * TERMS)};
    f.s = f.t + SAMPLES;
    f.g = f.hand_g + TERMS;
    for (size_t i = 0; i < SAMPLES; i++) {
        f.t[i] = -1 + 2. * (double)i / (SAMPLES - 1);
        f.s[i] = (f.t[i] > 0) - (f.t[i] < 0);
    }
    make(&f);
    const bool ok = right(&f);
    if (ok)
        programs_time(&(contest){"llsq", "<=1.0", &f, primal, hand, nabla}, quick);
    nb_program_free(f.gradient);
    free(f.t);
    free(f.x);
    free(f.hand_g);
    return ok;
}
