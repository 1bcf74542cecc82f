/*
 * The gradient through a differential equation, in little memory.
 *
 * The Brusselator with diffusion: two substances on a line,
 *
 *     u' = a + u^2 v - (b + 1) u + d u_xx,      u = 1 at both ends,
 *     v' = b u - u^2 v + d v_xx,                v = 3 at both ends,
 *
 * on 50 inner points (method of lines: 100 states), integrated to time 10 by 1000 steps of the
 * classical Runge-Kutta method. Sought is the gradient of the mean square of u(10) - v(10) by where
 * the system started, all 100 states, and by a, b and d.
 *
 * On a plain tape every intermediate result of every step is kept. nb_loop keeps 20 states and
 * recomputes what lies between, as few steps as possible. The two gradients are compared bit by
 * bit, and along one direction with a difference of the loss.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <string.h>

enum { POINTS = 50, STATES = 2 * POINTS, PARAMETERS = 3, N = STATES + PARAMETERS };
enum { STEPS = 1000, MEMORY = 20 };

/* ---- the system ------------------------------------------------------------------------------ */

typedef struct pair {
    nb_var u, v;
} pair;

/* The second difference of x, which is `edge` beyond both ends. */
static nb_var bend(nb_var x, double edge)
{
    nb_var wide = nb_pad(x, 0, 1, 1, edge);
    nb_var left = nb_slice(wide, 0, 0, -2, 1), right = nb_slice(wide, 0, 2, NB_END, 1);
    return nb_sub(nb_add(left, right), nb_mul(2, x));
}

static pair slope(pair y, const nb_var *p)
{
    const nb_var a = p[0], b = p[1], d = nb_mul(p[2], (POINTS + 1) * (POINTS + 1));
    nb_var react = nb_mul(nb_square(y.u), y.v), feed = nb_mul(b, y.u);
    nb_var u = nb_sub(nb_sub(nb_add(a, react), feed), y.u);
    return (pair){nb_add(u, nb_mul(d, bend(y.u, 1))),
                  nb_add(nb_sub(feed, react), nb_mul(d, bend(y.v, 3)))};
}

static pair along(pair y, double h, pair k)
{
    return (pair){nb_add(y.u, nb_mul(h, k.u)), nb_add(y.v, nb_mul(h, k.v))};
}

/* One step of Runge and Kutta: in is u, v, a, b, d; out is u, v. */
static nb_code step(void *calls, int64_t number, const nb_var *in, nb_var *out)
{
    const double h = 10. / STEPS;
    const pair y = {in[0], in[1]};
    pair k1 = slope(y, in + 2), k2 = slope(along(y, h / 2, k1), in + 2);
    pair k3 = slope(along(y, h / 2, k2), in + 2), k4 = slope(along(y, h, k3), in + 2);
    pair z = along(along(along(along(y, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4);
    out[0] = z.u;
    out[1] = z.v;
    (void)number;
    ++*(int64_t *)calls;
    return NB_OK;
}

/* ---- its loss -------------------------------------------------------------------------------- */

typedef struct result {
    double loss, gradient[N];
    size_t nodes;
    int64_t calls;
} result;

/* Loss and, if asked for, gradient at x: u, v, a, b, d. False after an error. */
static bool solve(const double *x, bool plain, bool gradient, result *r)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[2 + PARAMETERS], out[2];
    in[0] = nb_tensor(t, "u", NB_SHAPE(POINTS), x);
    in[1] = nb_tensor(t, "v", NB_SHAPE(POINTS), x + POINTS);
    for (int k = 0; k < PARAMETERS; k++)
        in[2 + k] = nb_input(t, (const char *[]){"a", "b", "d"}[k], x[STATES + k]);
    memcpy(out, in, sizeof out);
    r->calls = 0;
    if (plain) {
        nb_var now[2 + PARAMETERS];
        memcpy(now, in, sizeof now);
        for (int64_t k = 0; k < STEPS; k++) {
            step(&r->calls, k, now, out);
            memcpy(now, out, sizeof out);
        }
    } else {
        const nb_loop_spec spec = {.name = "brusselator",
                                   .fn = step,
                                   .context = &r->calls,
                                   .steps = STEPS,
                                   .memory = MEMORY};
        nb_loop(&spec, 2, in, PARAMETERS, in + 2, out);
    }
    nb_var loss = nb_mean(nb_square(nb_sub(out[0], out[1])));
    r->loss = nb_value(loss);
    r->nodes = nb_count(t);
    if (gradient && nb_backward(loss) == NB_OK) {
        nb_read_grad(in[0], r->gradient, POINTS);
        nb_read_grad(in[1], r->gradient + POINTS, POINTS);
        for (int k = 0; k < PARAMETERS; k++)
            r->gradient[STATES + k] = nb_grad(in[2 + k]);
    }
    const bool ok = nb_status(t) == NB_OK;
    if (!ok)
        puts(nb_message(t));
    nb_tape_free(t);
    return ok;
}

/* The derivative along d by a difference. */
static double difference(const double *x, const double *d, double h)
{
    double ahead[N], behind[N];
    result a, b;
    for (int i = 0; i < N; i++) {
        ahead[i] = x[i] + h * d[i];
        behind[i] = x[i] - h * d[i];
    }
    if (!solve(ahead, false, false, &a) || !solve(behind, false, false, &b))
        return (double)NAN;
    return (a.loss - b.loss) / (2 * h);
}

int main(void)
{
    double x[N], direction[N], along_it = 0;
    nb_rng rng = nb_rng_seed(1);
    result kept, plain;
    for (int i = 0; i < POINTS; i++) {
        x[i] = 1 + sin(6.283185307179586 * (i + 1) / (POINTS + 1));
        x[POINTS + i] = 3;
    }
    memcpy(x + STATES, (double[]){1, 3, .02}, PARAMETERS * sizeof *x);
    if (!solve(x, false, true, &kept) || !solve(x, true, true, &plain))
        return 1;
    for (int i = 0; i < N; i++) {
        direction[i] = (i < STATES + 2 ? 1 : .01) * nb_rng_normal(&rng);
        along_it += direction[i] * kept.gradient[i];
    }
    const double error = fabs(difference(x, direction, 1e-5) / along_it - 1);
    const bool minimal = kept.calls == nb_loop_calls(STEPS, MEMORY);
    const bool same = !memcmp(kept.gradient, plain.gradient, sizeof plain.gradient);

    printf("loss                                  %.6f\n", kept.loss);
    printf("by a, b, d                            %.5f %.5f %.4f\n", kept.gradient[STATES],
           kept.gradient[STATES + 1], kept.gradient[STATES + 2]);
    printf("by u and v in the middle, at first    %.5f %.5f\n", kept.gradient[POINTS / 2],
           kept.gradient[POINTS + POINTS / 2]);
    printf("nodes on the tape                     %zu, plain %zu\n", kept.nodes, plain.nodes);
    printf("steps computed                        %lld, plain %lld\n", (long long)kept.calls,
           (long long)plain.calls);
    printf("as few as %d states allow             %s\n", MEMORY, minimal ? "yes" : "no");
    printf("bitwise the plain tape's gradient     %s\n", same ? "yes" : "no");
    printf("a difference agrees to 1e-7           %s\n", error < 1e-7 ? "yes" : "no");
    return minimal && same && error < 1e-7 ? 0 : 1;
}
