/*
 * What a check of a large model's gradient costs: evaluations of the loss, which decide the time for any
 * model, and the time of this one, beside that of one gradient. The model has 10^5 parameters: 310
 * inputs, 256 hidden, 80 classes.
 */
#include "bench.h"

#include <math.h>
#include <nabla.h>

enum { IN = 310, HIDDEN = 256, OUT = 80, BATCH = 16, SAMPLE = 32 };

static double x[BATCH * IN];
static double w1[IN * HIDDEN], w2[HIDDEN * OUT], d1[IN * HIDDEN], d2[HIDDEN * OUT];

static nb_var loss(void *context, nb_tape *t)
{
    const double wrong = context ? *(const double *)context : 1;
    nb_var a = nb_borrow(t, "w1", NB_SHAPE(IN, HIDDEN), w1, d1);
    nb_var b = nb_borrow(t, "w2", NB_SHAPE(HIDDEN, OUT), w2, d2);
    nb_var h = nb_tanh(nb_matmul(nb_borrow_constant(t, NB_SHAPE(BATCH, IN), x), a));
    if (wrong != 1)
        h = nb_scale_gradient(h, wrong);
    return nb_mean(nb_logsumexp_over(nb_matmul(h, b), NB_AXES(1), false));
}

static const nb_check_parameter parameters[] = {{"w1", {2, {IN, HIDDEN}}, w1, d1},
                                                {"w2", {2, {HIDDEN, OUT}}, w2, d2}};

static nb_verdict check(double *wrong, nb_check_report *r)
{
    return nb_check_model(
        &(nb_check_model_spec){
            .loss = loss, .context = wrong, .n_parameters = 2, .parameter = parameters},
        &(nb_check_options){.sample = SAMPLE, .batch = BATCH}, r);
}

static double one_gradient(void)
{
    nb_tape *t = nb_tape_new(NULL);
    double best = (double)INFINITY;
    for (int i = 0; i < 10; i++) {
        const double start = bench_now();
        nb_reset(t);
        if (nb_backward(loss(NULL, t)) != NB_OK)
            exit(1);
        best = fmin(best, bench_now() - start);
    }
    nb_tape_free(t);
    return best;
}

int main(void)
{
    nb_check_report r;
    nb_rng rng = nb_rng_seed(1);
    double factor = 2;
    for (int i = 0; i < BATCH * IN; i++)
        x[i] = nb_rng_normal(&rng);
    for (int i = 0; i < IN * HIDDEN; i++)
        w1[i] = nb_rng_normal(&rng) / sqrt(IN);
    for (int i = 0; i < HIDDEN * OUT; i++)
        w2[i] = nb_rng_normal(&rng) / sqrt(HIDDEN);
    const double gradient = one_gradient(), start = bench_now();
    if (check(NULL, &r) != NB_VERDICT_RIGHT || r.count[NB_VERDICT_RIGHT] != r.tested) {
        fputs(r.text, stderr);
        return 1;
    }
    const double seconds = bench_now() - start;
    bench_line("check", "model_1e5", "parameters", (double)r.n, "", "-");
    bench_line("check", "model_1e5", "evaluations to screen", (double)r.screening, "", "<=20");
    bench_line("check", "model_1e5", "evaluations per sampled coordinate",
               (double)(r.evaluations - r.screening) / (double)r.tested, "", "-");
    bench_line("check", "model_1e5", "time of the check", 1e3 * seconds, "ms", "-");
    bench_line("check", "model_1e5", "time of the check, to one gradient", seconds / gradient, "",
               "-");
    if (check(&factor, &r) != NB_VERDICT_WRONG || r.diagnosis != NB_DIAGNOSIS_TWICE) {
        fputs(r.text, stderr);
        return 1;
    }
    bench_line("check", "model_1e5_wrong", "evaluations to name a factor and its node",
               (double)r.evaluations, "", "-");
    return 0;
}
