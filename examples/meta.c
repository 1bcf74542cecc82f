/*
 * A learning rate that is learned.
 *
 * Descent is a function: from the weights it starts with and its learning rate r, to the loss L after K
 * steps. An update rule is graph code, so this function has a derivative by r like any other:
 *
 *     w[k + 1] = rule(w[k], g[k], r),    g[k] = the gradient of the loss at w[k],    k = 0, …, K - 1
 *
 * g is recorded too, by nb_derivative, and so the sweep from L back through all steps goes through
 * gradients: it takes second derivatives, which nobody had to write down. The rule here is momentum, v = m v + g
 * and w -= r v, and m is learned along with r. Both stay in their range by what they are functions of,
 * r = e^s and 1 - m = e^u.
 *
 * What is trained in those K steps is a small network that is to draw a curve. The slopes are checked against
 * central differences; then L-BFGS follows them, for the mean over several starts. As good a rate lies
 * close to where descent diverges, and what is best for some starts is not best for all, the proof
 * is in starts that were not learned from.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { UNITS = 8, WEIGHTS = 3 * UNITS + 1, POINTS = 20, K = 50, META = 2, STARTS = 8 };

/* ---- the inner problem ----------------------------------------------------------------------- */

/* How far the network with weights w [WEIGHTS] is from sin(3 x) on [-1, 1]. */
static nb_var loss(nb_var w)
{
    nb_var part[3];
    nb_split(nb_slice(w, 0, 0, 3 * UNITS, 1), 3, 0, part);
    nb_var x = nb_linspace(w.tape, -1, 1, POINTS);
    nb_var h = nb_tanh(nb_add(nb_outer(x, part[0]), part[1]));
    nb_var y = nb_add(nb_matmul(h, part[2]), nb_at(w, -1));
    return nb_mean(nb_square(nb_sub(y, nb_sin(nb_mul(3, x)))));
}

static nb_var start_weights(nb_tape *t, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    return nb_leaf("w", nb_normal(t, NB_SHAPE(WEIGHTS), 0, 0.7, &r));
}

/* The logarithm of the loss after K steps of the rule, at s = log r and u = log(1 - m). */
static nb_var after_training(nb_var s, nb_var u, uint64_t seed)
{
    const nb_update rule = nb_update_of(NB_MOMENTUM);
    nb_var w = start_weights(s.tape, seed), v = nb_zeros(s.tape, NB_SHAPE(WEIGHTS)),
           own[] = {nb_exp(u)};
    for (int k = 1; k <= K; k++) {
        const nb_hyper h = {.rate = nb_exp(s), .step = nb_constant(s.tape, k), .own = own};
        w = rule.update(w, nb_derivative(loss(w), w), &v, &h);
    }
    return nb_log(loss(w));
}

/* ---- the outer one --------------------------------------------------------------------------- */

typedef struct course {
    nb_tape *tape;
    uint64_t seed; /* of the weights at the first start */
} course;

/* The mean over several starts, and its slopes. */
static nb_code objective(void *context, const double *at, double *f, double *g)
{
    const course *c = context;
    nb_mark start = nb_tape_mark(c->tape);
    nb_var s = nb_input(c->tape, "log(rate)", at[0]);
    nb_var u = nb_input(c->tape, "log(1 - momentum)", at[1]);
    nb_var end[STARTS];
    for (unsigned i = 0; i < STARTS; i++)
        end[i] = after_training(s, u, c->seed + i);
    nb_var mean = nb_mean_of(STARTS, end);
    const nb_code code = nb_backward(mean);
    *f = nb_value(mean);
    g[0] = nb_grad(s);
    g[1] = nb_grad(u);
    nb_rewind(start);
    return code;
}

/* The slope along coordinate k by central differences. */
static double difference(course *c, const double *at, int k)
{
    const double h = 1e-5;
    double up[META] = {at[0], at[1]}, down[META] = {at[0], at[1]}, f[2], unused[META];
    up[k] += h;
    down[k] -= h;
    objective(c, up, &f[0], unused);
    objective(c, down, &f[1], unused);
    return (f[0] - f[1]) / (up[k] - down[k]);
}

/* Whether the slopes are right. */
static bool check(course *c, const double *at)
{
    static const char *const name[META] = {"log(rate)", "log(1 - momentum)"};
    double f, g[META];
    bool good = objective(c, at, &f, g) == NB_OK;
    puts("slope of log(loss) by        sweep  differences");
    for (int k = 0; k < META; k++) {
        const double numeric = difference(c, at, k);
        printf("  %-18s  %12.6f %12.6f\n", name[k], g[k], numeric);
        good = good && fabs(g[k] - numeric) < 1e-7;
    }
    return good;
}

/* The loss after K steps, from the starts that were learned from and from others. Returns whether both
 * have fallen by that factor. */
static bool compare(course *c, const double *before, const double *after, double factor)
{
    double f[2][2], g[META];
    puts("\n              rate  momentum  loss from these starts  from others");
    for (int row = 0; row < 2; row++) {
        const double *at = row ? after : before;
        for (int other = 0; other < 2; other++) {
            c->seed = other ? 1 + STARTS : 1;
            objective(c, at, &f[row][other], g);
        }
        printf("%-10s %7.4f  %8.4f  %22.5f %12.5f\n", row ? "learned" : "at first", exp(at[0]),
               1 - exp(at[1]), exp(f[row][0]), exp(f[row][1]));
    }
    return f[1][0] < f[0][0] - log(factor) && f[1][1] < f[0][1] - log(factor);
}

int main(void)
{
    course c = {.tape = nb_tape_new(NULL), .seed = 1};
    const double first[META] = {log(0.02), log(1 - 0.5)};
    double at[META] = {first[0], first[1]};
    nb_reason why = {""};

    bool good = check(&c, first);
    const nb_code code =
        nb_lbfgs(META, at, objective, &c, &(nb_lbfgs_options){.gradient = 1e-4}, NULL, &why);
    good = compare(&c, first, at, 3) && !code && good;
    printf("\n%s\n", code   ? why.text
                     : good ? "The slopes agree, and the learned rate is better, elsewhere too."
                            : "The figures are off.");
    nb_tape_free(c.tape);
    return good ? 0 : 1;
}
