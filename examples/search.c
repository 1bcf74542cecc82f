/*
 * Hyperparameters found by random search with successive halving.
 *
 * Two spirals are told apart by a network 2-h-h-2. How fast it should learn, how wide it should be, how much
 * its weights should decay and how it should bend, nobody knows beforehand. So 27 networks with random
 * answers learn for 8 epochs each; the 9 whose validation loss is lowest go on to 24, and the best 3
 * of those to 72. That is 504 epochs, where 27 full trainings are 1944.
 *
 * What a network needs to go on is the state of its trial: it is made when the trial first comes, and
 * freed when the search has no more use for it. As everything in it grows from the trial's values
 * and seed, two threads find what one finds, and the best network can be trained once more, to the same
 * score, to be asked about points that no decision has seen.
 */
#include <nabla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE, HIDDEN, DECAY, ACTIVATION, DIMENSIONS };

static const nb_dimension space[DIMENSIONS] = {
    [RATE] = {.name = "rate", .scale = NB_SCALE_LOG, .low = 1e-4, .high = 1},
    [HIDDEN] = {.name = "hidden", .scale = NB_SCALE_LOG_INTEGER, .low = 4, .high = 32},
    [DECAY] = {.name = "decay", .scale = NB_SCALE_LOG, .low = 1e-6, .high = 1e-1},
    [ACTIVATION] = {.name = "activation",
                    .choices = 3,
                    .choice_name = (const char *const[]){"tanh", "relu", "sigmoid"}}};
static const nb_activation activation[] = {nb_tanh, nb_relu, nb_sigmoid};

typedef struct data {
    nb_dataset *train, *valid, *test;
} data;

/* A network in training. */
typedef struct run {
    nb_tape *tape;
    nb_params *params;
    nb_mlp net;
    nb_optim *optim;
    nb_batches *batches;
} run;

static void end(void *context, void *state)
{
    run *r = state;
    (void)context;
    nb_batches_free(r->batches);
    nb_optim_free(r->optim);
    nb_params_free(r->params);
    nb_tape_free(r->tape);
    free(r);
}

static nb_code begin(run *r, const nb_dataset *train, const nb_trial *t, nb_reason *why)
{
    const int64_t hidden = (int64_t)t->value[HIDDEN], sizes[] = {2, hidden, hidden, 2};
    nb_rng rng = nb_rng_seed(t->seed);
    r->tape = nb_tape_new(NULL);
    r->params = nb_params_new(NULL);
    r->net = nb_mlp_new(r->params, "net", 4, sizes,
                        &(nb_mlp_options){.f = activation[(int)t->value[ACTIVATION]]}, &rng);
    r->optim = nb_optim_new(r->params,
                            &(nb_optim_options){.rule = nb_update_of(NB_ADAM),
                                                .rate = t->value[RATE],
                                                .decay = t->value[DECAY]},
                            why);
    if (!r->tape || !r->optim)
        return NB_ERR_MEMORY;
    return nb_batches_new(train, &(nb_batch_options){.shuffle = true, .seed = t->seed}, &r->batches,
                          why);
}

static nb_var scores(const run *r, const nb_pass *m, const nb_dataset *d)
{
    return nb_mlp_apply(&r->net, m,
                        nb_borrow_constant(r->tape, NB_SHAPE(d->rows, d->columns), d->x));
}

static nb_code epoch(run *r, nb_reason *why)
{
    const nb_dataset *b;
    nb_code code;
    while ((code = nb_batches_next(r->batches, &b, why)) == NB_OK && b) {
        const nb_mark start = nb_tape_mark(r->tape);
        const nb_pass m = nb_training_pass(r->params, r->tape, NULL);
        code = nb_backward(nb_cross_entropy(scores(r, &m, b), b->rows, b->label, NULL));
        if (code == NB_OK)
            code = nb_optim_step(r->optim, why);
        nb_rewind(start);
        if (code)
            return code;
    }
    return code;
}

/* The loss, and the share of rows that are right. */
static nb_code evaluate(run *r, const nb_dataset *d, double *loss, double *accuracy, nb_reason *why)
{
    const nb_mark start = nb_tape_mark(r->tape);
    const nb_pass m = nb_evaluation_pass(r->params, r->tape);
    nb_var s = scores(r, &m, d);
    int64_t *predicted = malloc((size_t)d->rows * sizeof *predicted);
    *loss = nb_value(nb_cross_entropy(s, d->rows, d->label, NULL));
    nb_code code = predicted ? nb_status(r->tape) : NB_ERR_MEMORY;
    if (!code) {
        nb_predict(d->rows, 2, NB_F64, nb_data(s), predicted);
        code = nb_accuracy(d->rows, predicted, d->label, accuracy, why);
    }
    free(predicted);
    nb_rewind(start);
    return code;
}

/* What the search calls: goes on from where the trial is to where it should be. */
static nb_code train(void *context, const nb_trial *t, double *score, nb_reason *why)
{
    const data *d = context;
    nb_code code = NB_OK;
    double accuracy;
    if (!*t->state) {
        if (!(*t->state = calloc(1, sizeof(run))))
            return NB_ERR_MEMORY;
        code = begin(*t->state, d->train, t, why);
    }
    for (int64_t e = t->spent; !code && e < t->budget; e++)
        code = epoch(*t->state, why);
    return code ? code : evaluate(*t->state, d->valid, score, &accuracy, why);
}

/* The best of them once more, from its row alone: must come to the same score, and be good. */
static bool best_is_good(const nb_search_result *found, data *d, nb_reason *why)
{
    const nb_search_row *best = &found->row[found->best];
    void *state = NULL;
    const nb_trial again = {.number = best->number,
                            .seed = best->seed,
                            .value = best->value,
                            .budget = best->spent,
                            .state = &state};
    double score = 0, loss = 0, accuracy = 0;
    bool good = train(d, &again, &score, why) == NB_OK &&
                evaluate(state, d->test, &loss, &accuracy, why) == NB_OK;
    printf("\ntrial %lld: %.1f %% of %lld other points are right\n", (long long)best->number,
           100 * accuracy, (long long)d->test->rows);
    good = good && score == best->score && accuracy >= 0.95;
    if (state)
        end(NULL, state);
    return good;
}

static bool same(const nb_search_result *a, const nb_search_result *b)
{
    bool same = a->best == b->best;
    for (int64_t i = 0; i < a->trials && same; i++) {
        const nb_search_row *x = &a->row[i], *y = &b->row[i];
        same = x->rung == y->rung && x->status == y->status && a->order[i] == b->order[i] &&
               !memcmp(&x->score, &y->score, sizeof x->score);
    }
    return same;
}

int main(void)
{
    data d = {NULL, NULL, NULL};
    nb_reason why = {""};
    nb_search_result one = {0}, two = {0};
    nb_search_spec spec = {.dimensions = DIMENSIONS,
                           .dimension = space,
                           .trials = 27,
                           .seed = 1,
                           .budget = 8,
                           .most = 72,
                           .objective = train,
                           .free_state = end,
                           .context = &d,
                           .log = stdout};
    bool good =
        !nb_make_spirals(&(nb_make){.rows = 400, .noise = 0.02, .seed = 1}, &d.train, &why) &&
        !nb_make_spirals(&(nb_make){.rows = 200, .noise = 0.02, .seed = 2}, &d.valid, &why) &&
        !nb_make_spirals(&(nb_make){.rows = 400, .noise = 0.02, .seed = 3}, &d.test, &why) &&
        !nb_search(&spec, &one, &why);
    if (good) {
        puts("");
        nb_search_print(stdout, &spec, &one);
        good = best_is_good(&one, &d, &why);
    }
    spec.threads = 2;
    spec.log = NULL;
    good = good && !nb_search(&spec, &two, &why) && same(&one, &two);
    printf("%s%s\n", good ? "Two threads find the same." : "Something is wrong. ", why.text);
    nb_search_result_free(&one);
    nb_search_result_free(&two);
    nb_dataset_free(d.train);
    nb_dataset_free(d.valid);
    nb_dataset_free(d.test);
    return good ? 0 : 1;
}
