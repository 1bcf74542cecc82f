/*
 * Thirteen update rules and L-BFGS, on two functions that optimizers have always been tried on.
 *
 *   - Rosenbrock's valley, (1 - x)^2 + 100 (y - x^2)^2, from (-1.2, 1). To fall into the curved valley is
 *     easy; to follow it to its lowest point, (1, 1), is not: along it the slope is small, across it large.
 *   - A bowl, 1/2 (u^2 + 100 v^2), where u and v are x and y turned by 30 degrees; from (u, v) = (10, 1).
 *     Here theory says all: gradient descent at rate r multiplies u by 1 - r and v by 1 - 100 r in each
 *     step. So r must stay below 2/100, or v grows; and then u shrinks slowly. That is what the ratio of
 *     the curvatures, the condition number, means.
 *
 * Each rule has about the best rate for 2000 steps, found by trying. How near a constant rate leads differs:
 * rmsprop and lion, whose steps do not shrink with the gradient, end up around the minimum at a distance of
 * about the rate, which is what schedules are for (examples/schedules.c). And adamw's decay pulls towards 0:
 * its minimum is another one, unless 0 is it.
 *
 * With a path as its argument, the ways of all of them through the valley are saved there as SVG.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { RULES = NB_UPDATE_COUNT, LBFGS = RULES, RUNS, STEPS = 2000, GRID = 80 };

static const double cosine = 0.86602540378443865, sine = 0.5;

static nb_var valley(nb_var x, nb_var y)
{
    nb_var along = nb_square(nb_sub(1, x)), across = nb_square(nb_sub(y, nb_square(x)));
    return nb_add(along, nb_mul(100, across));
}

static nb_var bowl(nb_var x, nb_var y)
{
    nb_var u = nb_add(nb_mul(cosine, x), nb_mul(sine, y));
    nb_var v = nb_sub(nb_mul(cosine, y), nb_mul(sine, x));
    return nb_mul(0.5, nb_add(nb_square(u), nb_mul(100, nb_square(v))));
}

typedef struct problem {
    const char *name;
    nb_var (*f)(nb_var x, nb_var y);
    double start[2], minimum[2];
    double rate[RULES];
    double within[RUNS]; /* how near to the minimum each must end */
} problem;

static const problem rosenbrock = {
    .name = "Rosenbrock's valley",
    .f = valley,
    .start = {-1.2, 1},
    .minimum = {1, 1},
    .rate = {[NB_SGD] = 0.002,
             [NB_MOMENTUM] = 0.002,
             [NB_NESTEROV] = 0.001,
             [NB_ADAGRAD] = 1,
             [NB_RMSPROP] = 0.01,
             [NB_RMSPROP_NESTEROV] = 0.0005,
             [NB_ADADELTA] = 0.2,
             [NB_ADAM] = 0.1,
             [NB_ADAMW] = 0.1,
             [NB_AMSGRAD] = 0.2,
             [NB_ADAMAX] = 1,
             [NB_NADAM] = 0.02,
             [NB_LION] = 0.002},
    .within = {[NB_SGD] = 0.3,
               [NB_MOMENTUM] = 1e-6,
               [NB_NESTEROV] = 1e-3,
               [NB_ADAGRAD] = 0.3,
               [NB_RMSPROP] = 0.3,
               [NB_RMSPROP_NESTEROV] = 5e-3,
               [NB_ADADELTA] = 0.5,
               [NB_ADAM] = 1e-6,
               [NB_ADAMW] = 0.2,
               [NB_AMSGRAD] = 1e-6,
               [NB_ADAMAX] = 3e-3,
               [NB_NADAM] = 0.2,
               [NB_LION] = 0.1,
               [LBFGS] = 1e-7},
};

static const problem quadratic = {
    .name = "A bowl of condition 100",
    .f = bowl,
    .start = {8.1602540378443865, 5.86602540378443865},
    .minimum = {0, 0},
    .rate = {[NB_SGD] = 0.018,
             [NB_MOMENTUM] = 0.01,
             [NB_NESTEROV] = 0.01,
             [NB_ADAGRAD] = 2,
             [NB_RMSPROP] = 0.01,
             [NB_RMSPROP_NESTEROV] = 0.001,
             [NB_ADADELTA] = 1,
             [NB_ADAM] = 0.2,
             [NB_ADAMW] = 0.2,
             [NB_AMSGRAD] = 0.5,
             [NB_ADAMAX] = 0.5,
             [NB_NADAM] = 0.1,
             [NB_LION] = 0.01},
    .within = {[NB_SGD] = 1e-12,
               [NB_MOMENTUM] = 1e-12,
               [NB_NESTEROV] = 1e-12,
               [NB_ADAGRAD] = 1e-9,
               [NB_RMSPROP] = 0.03,
               [NB_RMSPROP_NESTEROV] = 0.02,
               [NB_ADADELTA] = 0.1,
               [NB_ADAM] = 1e-12,
               [NB_ADAMW] = 1e-12,
               [NB_AMSGRAD] = 1e-12,
               [NB_ADAMAX] = 1e-12,
               [NB_NADAM] = 1e-12,
               [NB_LION] = 0.03,
               [LBFGS] = 1e-7},
};

/* ---- a run ----------------------------------------------------------------------------------- */

typedef struct run {
    const problem *problem;
    nb_tape *tape;
    nb_params *params; /* one, "x", of two elements */
    int n;             /* how often the function was asked for */
    double x[STEPS + 1], y[STEPS + 1], f[STEPS + 1];
} run;

static nb_code loss(void *context, double *f)
{
    run *r = context;
    double at[2];
    nb_mark start = nb_tape_mark(r->tape);
    nb_pass m = nb_training_pass(r->params, r->tape, NULL);
    nb_var x = nb_pass_var(&m, 0), value = r->problem->f(nb_at(x, 0), nb_at(x, 1));
    const nb_code code = nb_backward(value);
    *f = nb_value(value);
    nb_rewind(start);
    nb_params_read(r->params, 0, at, 2);
    if (r->n <= STEPS) {
        r->x[r->n] = at[0];
        r->y[r->n] = at[1];
        r->f[r->n++] = *f;
    }
    return code;
}

static nb_code descend(run *r, nb_update_id rule, nb_reason *why)
{
    double f;
    nb_optim *o = nb_optim_new(
        r->params, &(nb_optim_options){.rule = nb_update_of(rule), .rate = r->problem->rate[rule]},
        why);
    nb_code code = o ? loss(r, &f) : NB_ERR_ARGUMENT;
    while (!code && r->n <= STEPS) {
        code = nb_optim_step(o, why);
        if (!code)
            code = loss(r, &f);
    }
    nb_optim_free(o);
    return code;
}

/* Whether it ended as near as it should; prints a line of the table. */
static bool go(run *r, const problem *p, int k)
{
    nb_reason why = {""};
    *r = (run){.problem = p, .tape = nb_tape_new(NULL), .params = nb_params_new(NULL)};
    nb_params_add(r->params, "x", NB_SHAPE(2), NULL, NULL);
    nb_params_write(r->params, 0, p->start, 2);
    nb_code code = k == LBFGS ? nb_lbfgs_params(r->params, loss, r, NULL, NULL, &why)
                              : descend(r, (nb_update_id)k, &why);
    nb_tape_free(r->tape);
    nb_params_free(r->params);
    if (code) {
        printf("  %s: %s\n", nb_code_name(code), why.text);
        return false;
    }
    const int end = r->n - 1;
    const double far = hypot(r->x[end] - p->minimum[0], r->y[end] - p->minimum[1]);
    const char *late = far <= p->within[k] ? "" : "  too far";
    if (k == LBFGS)
        printf("  %-17s %6s %6d %10.1e %10.1e%s\n", "l-bfgs", "", end, r->f[end], far, late);
    else
        printf("  %-17s %6g %6d %10.1e %10.1e%s\n", nb_update_name((nb_update_id)k), p->rate[k],
               end, r->f[end], far, late);
    return far <= p->within[k];
}

static bool go_all(run *r, const problem *p)
{
    bool good = true;
    printf("%s\n  %-17s %6s %6s %10s %10s\n", p->name, "rule", "rate", "steps", "f", "distance");
    for (int k = 0; k < RUNS; k++)
        good = go(&r[k], p, k) && good;
    puts("");
    return good;
}

/* ---- what theory says ------------------------------------------------------------------------ */

/* u = 10 (1 - r)^k and v = (1 - 100 r)^k after k steps of gradient descent, to rounding. */
static bool as_in_theory(const run *r)
{
    const double rate = r->problem->rate[NB_SGD];
    double worst = 0, u = 10, v = 1;
    for (int k = 0; k < r->n; k++, u *= 1 - rate, v *= 1 - 100 * rate)
        worst = fmax(worst, hypot(cosine * r->x[k] + sine * r->y[k] - u,
                                  cosine * r->y[k] - sine * r->x[k] - v));
    printf("Gradient descent in the bowl is where theory says, in every step: %s\n",
           worst < 1e-12 ? "yes" : "no");
    return worst < 1e-12;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static nb_code draw_valley(const run *r, const char *path, nb_reason *why)
{
    static double z[GRID][GRID];
    for (int i = 0; i < GRID; i++)
        for (int j = 0; j < GRID; j++) {
            const double x = -1.6 + 3.2 * (j + 0.5) / GRID, y = -0.6 + 2.4 * (i + 0.5) / GRID;
            z[i][j] = (1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x);
        }
    const nb_heat heat = {.name = "f",
                          .rows = GRID,
                          .columns = GRID,
                          .z = z[0],
                          .x = {-1.6, 1.6},
                          .y = {-0.6, 1.8},
                          .log = true};
    nb_series way[RUNS];
    for (int k = 0; k < RUNS; k++)
        way[k] = (nb_series){.name = k == LBFGS ? "l-bfgs" : nb_update_name((nb_update_id)k),
                             .n = (size_t)r[k].n,
                             .x = r[k].x,
                             .y = r[k].y};
    nb_plot p = {.title = "Ways through the valley",
                 .x = {.label = "x", .low = -1.6, .high = 1.6},
                 .y = {.label = "y", .low = -0.6, .high = 1.8},
                 .n = RUNS,
                 .series = way,
                 .heat = &heat,
                 .columns = 80,
                 .rows = 30};
    const nb_code code = path ? nb_plot_save(path, &p, why) : NB_OK;
    p.n = 3; /* on a terminal fewer say more */
    p.series = (nb_series[]){way[NB_SGD], way[NB_ADAM], way[LBFGS]};
    return code ? code : nb_plot_print(stdout, &p, why);
}

static nb_code draw_bowl(const run *r, nb_reason *why)
{
    static const int shown[] = {NB_SGD, NB_MOMENTUM, NB_ADAM, NB_LION, LBFGS};
    enum { SHOWN = sizeof shown / sizeof *shown };
    nb_series fall[SHOWN];
    for (int i = 0; i < SHOWN; i++)
        fall[i] = (nb_series){.name = shown[i] == LBFGS ? "l-bfgs"
                                                        : nb_update_name((nb_update_id)shown[i]),
                              .n = (size_t)r[shown[i]].n,
                              .y = r[shown[i]].f};
    const nb_plot p = {.title = "Down the bowl",
                       .x = {.label = "step", .high = 1000},
                       .y = {.label = "f", .log = true, .low = 1e-16, .high = 1e3},
                       .n = SHOWN,
                       .series = fall,
                       .columns = 80};
    return nb_plot_print(stdout, &p, why);
}

int main(int n, char **argument)
{
    static run valleys[RUNS], bowls[RUNS];
    nb_reason why = {""};
    bool good = go_all(valleys, &rosenbrock);
    good = go_all(bowls, &quadratic) && good;
    good = as_in_theory(&bowls[NB_SGD]) && good;
    puts("");
    nb_code code = draw_valley(valleys, n > 1 ? argument[1] : NULL, &why);
    if (!code)
        code = draw_bowl(bowls, &why);
    if (code)
        printf("%s: %s\n", nb_code_name(code), why.text);
    return good && !code ? 0 : 1;
}
