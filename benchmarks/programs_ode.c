/*
 * An ordinary differential equation of n = 100 states,
 *
 *     y_0' = x_0,   y_i' = x_i y_(i-1),   y(0) = 0,
 *
 * by 1000 steps of the classical Runge-Kutta method to time 2; the gradient of y_(n-1) there by x.
 *
 * State i needs nothing but state i - 1: the four values at which a step's slopes are taken, of all
 * steps. So programs have the steps as their lanes, and go from state to state:
 *
 *     rise(s)  = h/6 x_i (p_1 + 2 p_2 + 2 p_3 + p_4)(s),    p the four values of state i - 1, 1 for i = 0,
 *     y(s + 1) = y(s) + rise(s),                            a sum in C,
 *     the four = y, y + h/2 x_i p_1, y + h/2 x_i p_2, y + h x_i p_3.
 *
 * Back from the last state to the first, each is pulled back, and the sum runs the other way.
 */
#include "programs.h"

enum { STATES = 100, STEPS = 1000, SMALL = 40, SLOPES = 4 };

static const double share[SLOPES] = {1, 2, 2, 1}, reach[SLOPES] = {0, 0.5, 0.5, 1};

typedef struct ode {
    int steps;
    double x[STATES], y[STATES], hand_g[STATES], g[STATES], nabla_y;
    double *kept; /* by hand: each step's y and the three states within it */
    double *at; /* by programs: [1 + STATES, SLOPES, steps], ones for the state before the first */
    double *rise, *d, *d_before; /* [steps], [SLOPES, steps] twice */
    nb_program *rises, *inner, *by_y, *by_state;
} ode;

static double width(const ode *o) { return 2. / o->steps; }

/* ---- in C ------------------------------------------------------------------------------------ */

static void slope(const double *x, const double *y, double *k)
{
    k[0] = x[0];
    for (int i = 1; i < STATES; i++)
        k[i] = x[i] * y[i - 1];
}

static void along(const double *y, double h, const double *k, double *to)
{
    for (int i = 0; i < STATES; i++)
        to[i] = y[i] + h * k[i];
}

/* One step on from y; z are the states at which the last three slopes are taken. */
static void step(const double *x, double h, double *y, double z[3][STATES])
{
    double k[4][STATES];
    slope(x, y, k[0]);
    along(y, h / 2, k[0], z[0]);
    slope(x, z[0], k[1]);
    along(y, h / 2, k[1], z[1]);
    slope(x, z[1], k[2]);
    along(y, h, k[2], z[2]);
    slope(x, z[2], k[3]);
    for (int i = 0; i < STATES; i++)
        y[i] += h / 6 * (k[0][i] + 2 * k[1][i] + 2 * k[2][i] + k[3][i]);
}

static void primal(void *data)
{
    ode *o = data;
    double z[3][STATES];
    memset(o->y, 0, sizeof o->y);
    for (int s = 0; s < o->steps; s++)
        step(o->x, width(o), o->y, z);
}

/* What dk on the slopes at y pulls back: added to g and, times 1, written to dy. */
static void slope_back(const double *x, const double *y, const double *dk, double *dy, double *g)
{
    g[0] += dk[0];
    for (int i = 1; i < STATES; i++)
        g[i] += dk[i] * y[i - 1];
    for (int i = 1; i < STATES; i++)
        dy[i - 1] = dk[i] * x[i];
    dy[STATES - 1] = 0;
}

static void hand(void *data)
{
    ode *o = data;
    const double h = width(o);
    double d[STATES] = {0}, dk[STATES], dz[STATES], sum[STATES];
    memset(o->y, 0, sizeof o->y);
    for (int s = 0; s < o->steps; s++) {
        double *at = o->kept + (size_t)s * 4 * STATES;
        memcpy(at, o->y, sizeof o->y);
        step(o->x, h, o->y, (double(*)[STATES])(at + STATES));
    }
    memset(o->hand_g, 0, sizeof o->hand_g);
    d[STATES - 1] = 1;
    for (int s = o->steps; s-- > 0;) {
        memset(dz, 0, sizeof dz);
        memcpy(sum, d, sizeof sum);
        for (int k = 3; k >= 0; k--) {
            const double later = k < 3 ? h * reach[k + 1] : 0;
            for (int i = 0; i < STATES; i++)
                dk[i] = h / 6 * share[k] * d[i] + later * dz[i];
            slope_back(o->x, o->kept + ((size_t)s * 4 + (size_t)k) * STATES, dk, dz, o->hand_g);
            for (int i = 0; i < STATES; i++)
                sum[i] += dz[i];
        }
        memcpy(d, sum, sizeof d);
    }
}

/* ---- recorded -------------------------------------------------------------------------------- */

/* How far a step takes y, from the state before. */
static nb_var record_rise(const nb_var *p, nb_var x, double h)
{
    nb_var sum = p[0];
    for (int k = 1; k < SLOPES; k++)
        sum = nb_add(sum, nb_mul(share[k], p[k]));
    return nb_mul(nb_mul(x, h / 6), sum);
}

/* The second to fourth value at which slopes are taken. */
static void record_inner(const nb_var *p, nb_var y, nb_var x, double h, nb_var *to)
{
    for (int k = 1; k < SLOPES; k++)
        to[k - 1] = nb_add(y, nb_mul(nb_mul(x, h * reach[k]), p[k - 1]));
}

static bool eager(const ode *o, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[STATES], y[STATES];
    programs_inputs(t, STATES, o->x, x);
    for (int i = 0; i < STATES; i++)
        y[i] = nb_constant(t, 0);
    for (int s = 0; s < o->steps; s++) {
        nb_var before[SLOPES], own[SLOPES];
        for (int k = 0; k < SLOPES; k++)
            before[k] = nb_constant(t, 1);
        for (int i = 0; i < STATES; i++) {
            own[0] = y[i];
            record_inner(before, y[i], x[i], width(o), own + 1);
            y[i] = nb_add(y[i], record_rise(before, x[i], width(o)));
            memcpy(before, own, sizeof own);
        }
    }
    const bool ok = nb_backward(y[STATES - 1]) == NB_OK;
    for (int i = 0; i < STATES; i++)
        g[i] = nb_grad(x[i]);
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void make(ode *o)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var p[SLOPES], y, x, rise, own[SLOPES];
    programs_inputs(t, SLOPES, o->x, p);
    programs_inputs(t, 1, o->x, &y);
    programs_inputs(t, 1, o->x, &x);
    rise = record_rise(p, x, width(o));
    own[0] = y;
    record_inner(p, y, x, width(o), own + 1);
    const nb_argument in[] = {each("p", SLOPES, p), shared("x", 1, &x), each("y", 1, &y)};
    const nb_argument inner = each("inner", SLOPES - 1, own + 1);
    const nb_argument all[] = {each("rise", 1, &rise), inner};
    const nb_recipe both = {.n_in = 3, .in = in, .n_out = 2, .out = all};
    const bool only_y[] = {false, false, true}, others[] = {true, true, false};
    nb_reason why;
    nb_program *step = programs_made(nb_freeze(&both), NULL, t);
    o->rises = programs_freeze(t, 2, in, all[0]);
    o->inner = programs_freeze(t, 3, in, inner);
    o->by_y = programs_freeze_derived(t, 3, in, each("own", SLOPES, own), nb_program_vjp, only_y);
    o->by_state = programs_made(nb_program_vjp(step, others, &why), &why, t);
    nb_program_free(step);
    nb_tape_free(t);
}

static void unmake(ode *o)
{
    nb_program *const programs[] = {o->rises, o->inner, o->by_y, o->by_state};
    for (int k = 0; k < 4; k++)
        nb_program_free(programs[k]);
}

/* to[k] = sum + add[0] + ... + add[k - 1] for n places, a multiple of four, in steps of +1 or -1;
 * returns the sum of all. Four at a time, so that only every fourth addition waits for another. */
static double running(int n, int step, const double *add, double *to, double sum)
{
    for (int k = 0; k < n; k += 4, add += 4 * step, to += 4 * step) {
        const double one = add[0], two = one + add[step], three = two + add[2 * step];
        const double four = three + add[3 * step];
        to[0] = sum;
        to[step] = sum + one;
        to[2 * step] = sum + two;
        to[3 * step] = sum + three;
        sum += four;
    }
    return sum;
}

/* State i of all steps, from the state before. */
static void go(ode *o, int i)
{
    const int n = o->steps;
    double *at = o->at + (i + 1) * SLOPES * n;
    const nb_lanes in[] = {across(at - SLOPES * n, n), dense(o->x + i), dense(at)};
    const nb_lanes rise = dense(o->rise), inner = across(at + n, n);
    programs_run(o->rises, n, in, &rise);
    o->nabla_y = running(n, 1, o->rise, at, 0);
    programs_run(o->inner, n, in, &inner);
}

/* From d, by what y's last value depends on in state i's four values, to the same of the state before:
 * first by y alone, which the sum takes back to the rises. */
static void come_back(ode *o, int i)
{
    const int n = o->steps;
    const double *at = o->at + i * SLOPES * n;
    const nb_lanes in[] = {across(at, n), dense(o->x + i), dense(at), across(o->d, n)};
    const nb_lanes by_y = dense(o->rise);
    programs_run(o->by_y, n, in, &by_y);
    running(n, -1, o->rise + n - 1, o->rise + n - 1, i == STATES - 1);
    const nb_lanes seeds[] = {in[0], in[1], in[2], by_y, across(o->d + n, n)};
    const nb_lanes out[] = {across(o->d_before, n), dense(o->g + i)};
    programs_run(o->by_state, n, seeds, out);
    double *d = o->d;
    o->d = o->d_before;
    o->d_before = d;
}

static void nabla(void *data)
{
    ode *o = data;
    for (int k = 0; k < SLOPES * o->steps; k++)
        o->at[k] = 1;
    for (int i = 0; i < STATES; i++)
        go(o, i);
    memset(o->d, 0, (size_t)(SLOPES * o->steps) * sizeof *o->d);
    for (int i = STATES; i-- > 0;)
        come_back(o, i);
}

/* ---- the case -------------------------------------------------------------------------------- */

static bool right(ode *o)
{
    double g[STATES];
    primal(o);
    nabla(o);
    const double last = o->y[STATES - 1];
    hand(o);
    return bench_agree("ode, by hand", 1, o->y + STATES - 1, &last, 1e-12) &&
           bench_agree("ode", 1, &o->nabla_y, &last, 1e-10) &&
           bench_agree("ode, gradient", STATES, o->g, o->hand_g, 1e-10) &&
           (o->steps > SMALL || (eager(o, g) && bench_agree("ode, tape", STATES, o->g, g, 1e-10)));
}

bool bench_ode(bool quick)
{
    ode o = {.kept = bench_numbers(STEPS * SLOPES * STATES),
             .at = bench_numbers((STATES + 1) * SLOPES * STEPS),
             .rise = bench_numbers((1 + 2 * SLOPES) * STEPS)};
    double *x = programs_random(STATES, 0.5, 1.5, 11);
    bool ok = true;
    o.d = o.rise + STEPS;
    o.d_before = o.d + SLOPES * STEPS;
    memcpy(o.x, x, sizeof o.x);
    for (int small = 1; small >= 0; small--) {
        unmake(&o);
        o.steps = small ? SMALL : STEPS;
        make(&o);
        ok = right(&o) && ok;
    }
    if (ok)
        programs_time(&(contest){"ode", "<=5.5", &o, primal, hand, nabla}, quick);
    unmake(&o);
    free(x);
    free(o.kept);
    free(o.at);
    free(o.rise);
    return ok;
}
