/*
 * What a network does not know: dropout left on when it is asked.
 *
 * Dropout trains a crowd of networks at once: each step uses only the units that a coin left in. As a rule
 * all units are back when the network is asked. Leave the coin on instead, ask many times, and the answers
 * are opinions from the crowd. Their mean is the prediction,
 *
 *     mean(x) = 1/T sum of y_t(x),    spread(x)^2 = 1/(T - 1) sum of (y_t(x) - mean(x))^2
 *
 * and their spread tells how little the data had to say. Where there were points the crowd was made to
 * agree; where there were none, each goes its own way. (Gal and Ghahramani showed that this
 * approximates a Gaussian process.)
 *
 * The points are a noisy sine on [-3, 3] with a gap in the middle, and the network is asked on [-5, 5].
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { POINTS = 240, GRID = 101, PASSES = 400, EPOCHS = 600 };

static const double gap = 0.75, end = 3, noise = 0.1;

static double truth(double x) { return sin(2 * x); }

typedef struct forecast {
    double x[GRID], mean[GRID], low[GRID], high[GRID], spread[GRID];
} forecast;

static void make_points(double *x, double *y)
{
    nb_rng r = nb_rng_seed(1);
    for (int i = 0; i < POINTS; i++) {
        const double u = gap + (end - gap) * nb_rng_uniform(&r);
        x[i] = i % 2 ? u : -u;
        y[i] = truth(x[i]) + noise * nb_rng_normal(&r);
    }
}

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    return nb_mlp_apply(context, m, x);
}

static nb_code train(nb_params *p, nb_mlp *net, const double *x, const double *y, nb_reason *why)
{
    const nb_dataset points = {.rows = POINTS, .columns = 1, .x = x, .targets = 1, .y = y};
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 0.01}, why);
    const nb_code code =
        nb_fit(&(nb_fit_spec){.learner = {.params = p, .model = model, .context = net},
                              .train = &points,
                              .optim = o,
                              .schedule = {.kind = NB_COSINE, .rate = 0.01},
                              .epochs = EPOCHS,
                              .seed = 3},
               NULL, why);
    nb_optim_free(o);
    return code;
}

/* Asks on a grid. The band is two deviations wide, the crowd's and the noise taken together. */
static nb_code ask(nb_params *p, nb_mlp *net, forecast *f)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(4);
    const nb_pass m = nb_evaluation_pass(p, t);
    nb_var grid = nb_linspace(t, -5, 5, GRID);
    nb_read(grid, f->x, GRID);
    const nb_code code =
        nb_monte_carlo(&m, &r, PASSES, model, net, nb_unsqueeze(grid, 1), GRID, f->mean, f->spread);
    for (int i = 0; i < GRID; i++) {
        const double wide = 2 * hypot(f->spread[i], noise);
        f->low[i] = f->mean[i] - wide;
        f->high[i] = f->mean[i] + wide;
    }
    nb_tape_free(t);
    return code;
}

static double mean_spread(const forecast *f, double from, double to)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < GRID; i++)
        if (fabs(f->x[i]) > from && fabs(f->x[i]) < to) {
            sum += f->spread[i];
            n++;
        }
    return sum / n;
}

/* The share of the data within the band, at the nearest place of the grid; and of the truth in the gap. */
static double data_within(const forecast *f, const double *x, const double *y)
{
    int within = 0;
    for (int i = 0; i < POINTS; i++) {
        const long k = lround((x[i] + 5) / 10 * (GRID - 1));
        within += y[i] > f->low[k] && y[i] < f->high[k];
    }
    return (double)within / POINTS;
}

static double gap_within(const forecast *f)
{
    int within = 0, all = 0;
    for (int i = 0; i < GRID; i++)
        if (fabs(f->x[i]) < gap) {
            all++;
            within += truth(f->x[i]) > f->low[i] && truth(f->x[i]) < f->high[i];
        }
    return (double)within / all;
}

static nb_code draw(const forecast *f, const double *x, const double *y, nb_reason *why)
{
    const nb_series series[] = {
        {.name = "two deviations",
         .kind = NB_PLOT_BAND,
         .n = GRID,
         .x = f->x,
         .y = f->low,
         .y2 = f->high},
        {.name = "data", .kind = NB_PLOT_POINTS, .n = POINTS, .x = x, .y = y},
        {.name = "mean", .kind = NB_PLOT_LINE, .n = GRID, .x = f->x, .y = f->mean},
    };
    return nb_plot_print(stdout,
                         &(nb_plot){.title = "A noisy sine, with a gap",
                                    .n = sizeof series / sizeof *series,
                                    .series = series,
                                    .rows = 24},
                         why);
}

static bool report(const forecast *f, const double *x, const double *y)
{
    const double amid = mean_spread(f, gap, end), inside = mean_spread(f, 0, gap);
    const double beyond = mean_spread(f, end + 0.5, HUGE_VAL);
    const double data = data_within(f, x, y), hidden = gap_within(f);
    printf("\nspread of the crowd: %.2f amid the data, %.2f in the gap, %.2f beyond;\n"
           "within the band: %.0f %% of the data, %.0f %% of what the gap hides\n",
           amid, inside, beyond, 100 * data, 100 * hidden);
    return inside > 1.3 * amid && beyond > 1.1 * amid && data > 0.9 && hidden > 0.7;
}

int main(void)
{
    static double x[POINTS], y[POINTS];
    static forecast f;
    nb_reason why = {"asking failed"};
    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_mlp net = nb_mlp_new(p, "net", 4, (int64_t[]){1, 64, 64, 1},
                            &(nb_mlp_options){.f = nb_relu, .dropout = 0.1}, &r);
    make_points(x, y);
    nb_code code = train(p, &net, x, y, &why);
    if (!code)
        code = ask(p, &net, &f);
    if (!code)
        code = draw(&f, x, y, &why);
    const bool good = !code && report(&f, x, y);
    printf("\n%s\n", code   ? why.text
                     : good ? "It is less sure where it was told nothing."
                            : "The figures are off.");
    nb_params_free(p);
    return good ? 0 : 1;
}
