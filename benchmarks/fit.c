/*
 * What a fit costs beside the loop by hand that computes the same: a 64-64-10 network on drawn digits, batches
 * of 32, Adam, in float. And what threads save where batches are worked on in parts. Parameters must be the
 * same to the bit after both, and for any number of threads.
 */
#include "bench.h"

#include <nabla.h>

typedef struct task {
    const nb_dataset *d;
    int64_t hidden, batch, micro, epochs;
    int threads;
    bool by_hand;
} task;

typedef struct net {
    nb_params *p;
    nb_mlp mlp;
    nb_optim *o;
} net;

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    return nb_mlp_apply(context, m, nb_reshape(x, NB_SHAPE(nb_dim(x, 0), 64)));
}

static net make(const task *k)
{
    net n = {.p = nb_params_new(&(nb_params_options){.dtype = NB_F32})};
    nb_rng r = nb_rng_seed(1);
    n.mlp = nb_mlp_new(n.p, "net", 3, (int64_t[]){64, k->hidden, 10}, NULL, &r);
    n.o = nb_optim_new(n.p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, NULL);
    return n;
}

static bool loop_by_hand(const task *k, net *n)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_mark start = nb_tape_mark(t);
    nb_batches *batches;
    const nb_dataset *b;
    const nb_batch_options o = {.size = k->batch, .shuffle = true, .seed = 1};
    bool good = nb_batches_new(k->d, &o, &batches, NULL) == NB_OK;
    for (int64_t epoch = 0; good && epoch < k->epochs; epoch++)
        while (good && !nb_batches_next(batches, &b, NULL) && b) {
            nb_pass m = nb_training_pass(n->p, t, NULL);
            nb_var x = nb_borrow_constant(t, NB_SHAPE(b->rows, 64), b->x);
            nb_var loss = nb_cross_entropy(nb_mlp_apply(&n->mlp, &m, x), b->rows, b->label, NULL);
            good = nb_backward(loss) == NB_OK && nb_optim_step(n->o, NULL) == NB_OK;
            nb_rewind(start);
        }
    nb_batches_free(batches);
    nb_tape_free(t);
    return good;
}

static bool fit(const task *k, net *n)
{
    const nb_fit_spec s = {.learner = {.params = n->p, .model = model, .context = &n->mlp},
                           .train = k->d,
                           .batch = k->batch,
                           .micro = k->micro,
                           .threads = k->threads,
                           .epochs = k->epochs,
                           .seed = 1,
                           .optim = n->o};
    return nb_fit(&s, NULL, NULL) == NB_OK;
}

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds; the parameters, as numbers, to out. Not a number if something failed. */
static double run(const task *k, double *out)
{
    net n = make(k);
    const double start = k->threads > 1 || k->micro ? wall() : bench_now();
    const bool good = k->by_hand ? loop_by_hand(k, &n) : fit(k, &n);
    const double end = k->threads > 1 || k->micro ? wall() : bench_now();
    const float *p = nb_params_values(n.p);
    for (int64_t i = 0; i < nb_params_size(n.p); i++)
        out[i] = (double)p[i];
    nb_optim_free(n.o);
    nb_params_free(n.p);
    return good ? end - start : (double)NAN;
}

/* The median of a's time over b's. */
static double race(const task *a, const task *b, int repeats)
{
    double ratio[64], *x = bench_numbers(1 << 16), *y = bench_numbers(1 << 16);
    bool same = true;
    for (int k = 0; k < repeats; k++) {
        const double s = run(a, x), t = run(b, y);
        ratio[k] = s / t;
        same = same && bench_agree("fit", 1 << 16, x, y, 0);
    }
    free(x), free(y);
    return same ? bench_median(ratio, (size_t)repeats) : (double)NAN;
}

int main(int argc, char **argv)
{
    const bool quick = bench_quick(argc, argv);
    nb_dataset *d;
    if (nb_make_digits(&(nb_make){.rows = 1600, .seed = 1, .dtype = NB_F32}, &d, NULL))
        return 1;
    task one = {.d = d, .hidden = 64, .batch = 32, .epochs = quick ? 3 : 30}, hand = one;
    hand.by_hand = true;
    const double over_hand = race(&one, &hand, quick ? 5 : 21);
    bench_line("fit", "digits_64_64_10", "over_hand", over_hand, "x", "-");
    one = (task){.d = d, .hidden = 512, .batch = 400, .micro = 100, .epochs = quick ? 5 : 30};
    task two = one;
    two.threads = 2;
    const double speedup = race(&one, &two, quick ? 5 : 21);
    bench_line("fit", "parts", "speedup_2_threads", speedup, "x", "-");
    nb_dataset_free(d);
    return isnan(over_hand) || isnan(speedup);
}
