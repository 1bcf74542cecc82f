/*
 * Gradients through solutions.
 *
 * Where F(y, x) = 0 defines y, the derivative of y by x follows from F alone: differentiate
 * F(y(x), x) = 0 and solve the linear system  dF/dy dy = -dF/dx dx.  How y was found, and in how many
 * steps, plays no part; nothing of the search is recorded. Twice here:
 *
 *   - A circuit. A source drives a resistor into node 1, which leaks to ground through a second; a
 *     diode leads on to node 2, and a third resistor from there to ground. In each node the currents
 *     add up to 0, two equations that Newton's method solves. How does the output respond to each part?
 *   - A layer of a network whose output is its own input, y = tanh(W y + x): as deep as it takes.
 *     A fixed point, found by iteration; its gradient costs one linear solve, not a sweep through
 *     all the steps.
 *
 * Every gradient is compared with differences of the solver.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

/* ---- a circuit, by Newton's method ----------------------------------------------------------- */

enum { PARTS = 4 };
static const char *const part[PARTS] = {"V", "R1", "R2",
                                        "R3"}; /* volts, kilo-ohms; so milliamperes */

static nb_var kirchhoff(void *context, nb_var v, const nb_var *x)
{
    (void)context;
    nb_var v1 = nb_at(v, 0), v2 = nb_at(v, 1);
    nb_var diode = nb_mul(1e-9, nb_expm1(nb_div(nb_sub(v1, v2), 0.026)));
    nb_var into1 = nb_sub(nb_div(nb_sub(x[0], v1), x[1]), nb_add(nb_div(v1, x[2]), diode));
    nb_var into2 = nb_sub(diode, nb_div(v2, x[3]));
    return nb_stack(2, (nb_var[]){into1, into2}, 0);
}

/* The output, v2. It and the parts are left on the tape. */
static nb_var circuit(nb_tape *t, const double *value, nb_var *x, nb_solution *found)
{
    for (int k = 0; k < PARTS; k++)
        x[k] = nb_input(t, part[k], value[k]);
    nb_var start = nb_zeros(t, NB_SHAPE(2));
    const nb_implicit_options o = {.name = "circuit", .tolerance = 1e-13, .solution = found};
    return nb_at(nb_newton(kirchhoff, NULL, start, PARTS, x, &o), 1);
}

static bool show_circuit(nb_tape *t)
{
    double value[PARTS] = {5, 1, 10, 2}, worst = 0;
    nb_var x[PARTS], unused[PARTS];
    nb_solution found;
    nb_var out = circuit(t, value, x, &found);
    nb_backward(out);
    printf("circuit: %.6f V behind the diode, %s\n", nb_value(out),
           found.residual < 1e-13 ? "found by Newton's method" : "not found");
    printf("  part      d out / d part     by differences\n");
    for (int k = 0; k < PARTS; k++) {
        const double at = value[k], h = 1e-4 * at;
        nb_mark mark = nb_tape_mark(t);
        value[k] = at + h;
        double up = nb_value(circuit(t, value, unused, &found));
        value[k] = at - h;
        double slope = (up - nb_value(circuit(t, value, unused, &found))) / (2 * h);
        value[k] = at;
        nb_rewind(mark);
        printf("  %-4s %19.6f %18.6f\n", part[k], nb_grad(x[k]), slope);
        worst = fmax(worst, fabs(nb_grad(x[k]) - slope));
    }
    return nb_status(t) == NB_OK && worst < 1e-6;
}

/* ---- a layer that is a fixed point ----------------------------------------------------------- */

enum { UNITS = 24 };

static nb_var layer(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_tanh(nb_add(nb_matmul(x[0], y), x[1]));
}

/* The mean square of the layer's output, for W moved by h along d. */
static nb_var loss(nb_tape *t, const double *w, const double *b, double h, const double *d,
                   nb_var *x, nb_solution *found)
{
    double moved[UNITS * UNITS];
    for (int i = 0; i < UNITS * UNITS; i++)
        moved[i] = w[i] + h * d[i];
    x[0] = nb_tensor(t, "W", NB_SHAPE(UNITS, UNITS), moved);
    x[1] = nb_tensor(t, "x", NB_SHAPE(UNITS), b);
    const nb_implicit_options o = {
        .name = "layer", .tolerance = 1e-13, .anderson = 5, .solution = found};
    nb_var y = nb_fixed_point(layer, NULL, nb_zeros(t, NB_SHAPE(UNITS)), 2, x, &o);
    return nb_mean(nb_square(y));
}

static bool show_layer(nb_tape *t)
{
    double w[UNITS * UNITS], b[UNITS], d[UNITS * UNITS], g[UNITS * UNITS], slope = 0;
    const double h = 1e-5;
    nb_rng r = nb_rng_seed(1);
    nb_solution found;
    nb_var x[2], unused[2];
    for (int i = 0; i < UNITS * UNITS; i++) {
        w[i] = 0.8 / sqrt(UNITS) * nb_rng_normal(&r);
        d[i] = nb_rng_normal(&r);
    }
    for (int i = 0; i < UNITS; i++)
        b[i] = nb_rng_normal(&r);

    nb_var f = loss(t, w, b, 0, d, x, &found);
    nb_backward(f);
    printf("\nlayer: %d units settle to a mean square of %.6f\n", UNITS, nb_value(f));
    printf("  nodes on the tape: W, x, the start, the layer, and %zu for the mean square\n",
           nb_count(t) - 4);
    nb_read_grad(x[0], g, UNITS * UNITS);
    for (int i = 0; i < UNITS * UNITS; i++)
        slope += g[i] * d[i];
    nb_mark mark = nb_tape_mark(t);
    double up = nb_value(loss(t, w, b, h, d, unused, &found));
    double close = (up - nb_value(loss(t, w, b, -h, d, unused, &found))) / (2 * h);
    nb_rewind(mark);
    printf("  along a random direction of W: %.6f by the gradient, %.6f by differences\n", slope,
           close);
    return nb_status(t) == NB_OK && fabs(slope - close) < 1e-7;
}

int main(void)
{
    nb_tape *t = nb_tape_new(NULL);
    bool good = show_circuit(t);
    nb_reset(t);
    good = show_layer(t) && good;
    printf("\n%s\n", nb_status(t) ? nb_message(t)
                     : good       ? "All gradients agree."
                                  : "A gradient is wrong.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
