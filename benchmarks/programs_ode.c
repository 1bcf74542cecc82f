/*
 * An ordinary differential equation of n = 100 states,
 *
 *     y_0' = x_0,   y_i' = x_i y_(i-1),   y(0) = 0,
 *
 * by 1000 steps of the classical Runge-Kutta method to time 2; the gradient of y_(n-1) there by x.
 *
 * A step's new y_i depends on y_(i-4) to y_i and x_(i-3) to x_i: a program whose lanes are the states,
 * with windows that overlap as its inputs. In front of the states stand a 1, whose x is 0 (so that
 * y_0 is no exception), and zeros. All states in time are kept; on the way back the same program's
 * pulled-back windows are laid over one another in C.
 */
#include "programs.h"

enum { STATES = 100, STEPS = 1000, SMALL = 40, PAD = 4, ROW = PAD + STATES, REACH = PAD + 1 };

typedef struct ode {
    int steps;
    double x[STATES], y[STATES], hand_g[STATES], g[STATES], nabla_y;
    double *kept;       /* by hand: each step's y and the three states within it */
    double padded[ROW]; /* x behind zeros, of which the first PAD - 1 windows' begin before it */
    double *path;       /* [STEPS + 1, ROW] */
    nb_program *step, *back;
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
    static const double share[] = {1, 2, 2, 1}, reach[] = {0, 0.5, 0.5, 1};
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

/* The new y_i from the windows y_(i-4).. and x_(i-3).. */
static nb_var record(const nb_var *y, const nb_var *x, double h)
{
    nb_var k[4], sum = nb_num(0);
    for (int stage = 0; stage < 4; stage++) {
        static const double share[] = {1, 2, 2, 1}, reach[] = {0, 0.5, 0.5, 1};
        for (int m = PAD - 1; m >= stage; m--) {
            nb_var at = stage ? nb_add(y[m], nb_mul(h * reach[stage], k[m - 1])) : y[m];
            k[m] = nb_mul(x[m], at);
        }
        nb_var part = nb_mul(h / 6 * share[stage], k[PAD - 1]);
        sum = stage ? nb_add(sum, part) : part;
    }
    return nb_add(y[PAD], sum);
}

static bool eager(const ode *o, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[ROW], y[2][ROW];
    for (int i = 0; i < ROW; i++) {
        x[i] = i < PAD ? nb_constant(t, 0) : nb_input(t, NULL, o->x[i - PAD]);
        y[0][i] = y[1][i] = nb_constant(t, i == PAD - 1);
    }
    for (int s = 0; s < o->steps; s++)
        for (int i = 0; i < STATES; i++)
            y[(s + 1) % 2][PAD + i] = record(y[s % 2] + i, x + i + 1, width(o));
    const bool ok = nb_backward(y[o->steps % 2][ROW - 1]) == NB_OK;
    for (int i = 0; i < STATES; i++)
        g[i] = nb_grad(x[PAD + i]);
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void make(ode *o)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var y[REACH], x[PAD];
    nb_reason why;
    programs_inputs(t, REACH, o->path, y);
    programs_inputs(t, PAD, o->padded, x);
    nb_var z = record(y, x, width(o));
    const nb_argument in[] = {each("y", REACH, y), each("x", PAD, x)};
    o->step = programs_freeze(t, 2, in, each("z", 1, &z));
    o->back = programs_made(nb_program_vjp(o->step, NULL, &why), &why, t);
    nb_tape_free(t);
}

static void unmake(ode *o)
{
    nb_program_free(o->step);
    nb_program_free(o->back);
}

static nb_lanes window(const double *x)
{
    nb_lanes w = across(x, 1);
    return w;
}

/* Lane l's element e of d belongs to place l + e - ahead. */
static void lay_over(const double *d, int elements, int ahead, double *to)
{
    for (int e = 0; e < elements; e++) {
        const int shift = ahead - e;
        for (int l = shift; l < STATES; l++)
            to[l - shift] += d[e * STATES + l];
    }
}

static void nabla(void *data)
{
    ode *o = data;
    double d[STATES] = {0}, dy[REACH * STATES], dx[PAD * STATES], sum[PAD * STATES] = {0};
    const nb_lanes x = window(o->padded + 1);
    for (int s = 0; s < o->steps; s++) {
        double *y = o->path + s * ROW;
        const nb_lanes in[] = {window(y), x}, out = dense(y + ROW + PAD);
        programs_run(o->step, STATES, in, &out);
    }
    o->nabla_y = o->path[o->steps * ROW + ROW - 1];
    d[STATES - 1] = 1;
    for (int s = o->steps; s-- > 0;) {
        const nb_lanes in[] = {window(o->path + s * ROW), x, dense(d)};
        const nb_lanes out[] = {across(dy, STATES), across(dx, STATES)};
        programs_run(o->back, STATES, in, out);
        memset(d, 0, sizeof d);
        lay_over(dy, REACH, PAD, d);
        for (int i = 0; i < PAD * STATES; i++)
            sum[i] += dx[i];
    }
    memset(o->g, 0, sizeof o->g);
    lay_over(sum, PAD, PAD - 1, o->g);
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
    ode o = {.kept = bench_numbers(STEPS * 4 * STATES), .path = bench_numbers((STEPS + 1) * ROW)};
    double *x = programs_random(STATES, 0.5, 1.5, 11);
    bool ok = true;
    memcpy(o.x, x, sizeof o.x);
    memcpy(o.padded + PAD, x, sizeof o.x);
    for (int s = 0; s <= STEPS; s++)
        o.path[s * ROW + PAD - 1] = 1;
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
    free(o.path);
    return ok;
}
