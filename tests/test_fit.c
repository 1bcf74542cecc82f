/*
 * Fits: the same as the loop by hand, the same in parts and on threads; memory.
 */
#include "fit.h"

/* ---- against the loop by hand ---------------------------------------------------------------- */

static void by_hand(learned *l, const nb_dataset *d, int epochs, double *loss)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d->dtype});
    nb_mark start = nb_tape_mark(t);
    nb_batches *batches;
    const nb_dataset *b;
    nb_batches_new(d, &(nb_batch_options){.size = 16, .shuffle = true, .seed = 5}, &batches, NULL);
    for (int epoch = 0; epoch < epochs; epoch++) {
        *loss = 0;
        while (!nb_batches_next(batches, &b, NULL) && b) {
            nb_pass m = nb_training_pass(l->p, t, NULL);
            nb_var x = nb_borrow_constant(t, NB_SHAPE(b->rows, 2), b->x);
            nb_var f = nb_cross_entropy(net(l, &m, x), b->rows, b->label, NULL);
            *loss += nb_value(f) * (double)b->rows / (double)d->rows;
            ck_assert_int_eq(nb_backward(f), NB_OK);
            ck_assert_int_eq(nb_optim_step(l->o, NULL), NB_OK);
            nb_rewind(start);
        }
    }
    nb_batches_free(batches);
    nb_tape_free(t);
}

START_TEST(as_by_hand)
{
    learned a, b;
    nb_fit_result r;
    double loss;
    nb_dataset *d = blobs((nb_dtype)_i, 75, 1, NULL); /* the last batch has 11 rows */
    make_learned(&a, (nb_dtype)_i, true, NULL);
    make_learned(&b, (nb_dtype)_i, true, NULL);
    const nb_fit_spec s = spec_of(&a, d, NULL);
    run_fit(&s, &r);
    by_hand(&b, d, 4, &loss);
    ck_assert(same_model(&a, &b));
    ck_assert_int_eq(r.steps, 4 * 5);
    ck_assert_int_eq(r.epochs, 4);
    ck_assert_int_eq(r.end, NB_FIT_EPOCHS);
    ck_assert_double_eq_tol(r.history[3].loss, loss, 1e-12);
    ck_assert(isnan(r.history[3].valid_loss));
    ck_assert_double_lt(r.history[3].loss, r.history[0].loss);
    nb_fit_result_free(&r);
    free_learned(&a);
    free_learned(&b);
    nb_dataset_free(d);
}
END_TEST

/* ---- parts and threads ----------------------------------------------------------------------- */

/* A step on 16 rows at once, and in parts of 6, 5 and 5. */
START_TEST(parts_add_up)
{
    learned a, b;
    nb_fit_result r, q;
    nb_dataset *d = blobs(NB_F64, 16, 1, NULL);
    make_learned(&a, NB_F64, true, NULL);
    make_learned(&b, NB_F64, true, NULL);
    nb_fit_spec s = spec_of(&a, d, NULL), t = spec_of(&b, d, NULL);
    s.epochs = t.epochs = 1;
    t.micro = 7;
    run_fit(&s, &r);
    run_fit(&t, &q);
    ck_assert_double_eq_tol(r.history[0].loss, q.history[0].loss, 1e-14);
    ck_assert_double_eq(r.history[0].metric[0], q.history[0].metric[0]);
    const double *g = nb_params_grads(a.p), *h = nb_params_grads(b.p);
    for (int64_t i = 0; i < nb_params_size(a.p); i++)
        ck_assert_double_eq_tol(g[i], h[i], 1e-14);
    nb_fit_result_free(&r);
    nb_fit_result_free(&q);
    free_learned(&a);
    free_learned(&b);
    nb_dataset_free(d);
}
END_TEST

/* Batch norm, dropout, an average, a validation set: any number of threads, the same bits. */
START_TEST(threads_leave_no_trace)
{
    const nb_dtype d = (nb_dtype)(_i % 2);
    const int64_t micro = _i < 2 ? 5 : 0;
    nb_dataset *train = blobs(d, 75, 1, NULL), *valid = blobs(d, 700, 2, NULL);
    learned one, many;
    nb_fit_result r, q;
    make_learned(&one, d, false, NULL);
    nb_fit_spec s = spec_of(&one, train, valid);
    s.micro = micro;
    s.average = one.average;
    s.clip_norm = 0.5;
    run_fit(&s, &r);
    for (int threads = 2; threads < 6; threads++) {
        make_learned(&many, d, false, NULL);
        s.learner.params = many.p;
        s.learner.context = &many;
        s.optim = many.o;
        s.average = many.average;
        s.threads = threads;
        run_fit(&s, &q);
        ck_assert(same_model(&one, &many));
        ck_assert(same_history(&r, &q));
        nb_fit_result_free(&q);
        free_learned(&many);
    }
    nb_fit_result_free(&r);
    free_learned(&one);
    nb_dataset_free(train);
    nb_dataset_free(valid);
}
END_TEST

/* The running mean of a part's mean, weighted by rows, is that of the whole batch: parts of 3, 2 and 2
 * rows: x is 1 … 7. */
static nb_var only_norm(void *context, const nb_pass *m, nb_var x)
{
    return nb_batch_norm_apply(context, m, x);
}

START_TEST(statistics_of_parts)
{
    const double x[7] = {1, 2, 3, 4, 5, 6, 7}, y[7] = {0};
    const nb_dataset d = {.rows = 7, .columns = 1, .x = x, .targets = 1, .y = y};
    nb_params *p = nb_params_new(NULL);
    nb_batch_norm_layer norm = nb_batch_norm_new(p, "norm", 1);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 1e-3}, NULL);
    nb_fit_spec s = {.learner = {.params = p, .model = only_norm, .context = &norm},
                     .train = &d,
                     .batch = 7,
                     .micro = 3,
                     .optim = o,
                     .epochs = 1};
    run_fit(&s, NULL);
    ck_assert_double_eq_tol(nb_params_statistics(p)[norm.mean], 0.1 * 4, 1e-14);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static counting counts;
static size_t calls_then;
static nb_code count_calls(void *context, const nb_fit_step *s)
{
    (void)context;
    if (s->step == 10)
        calls_then = counts.calls;
    return s->step > 10 && counts.calls != calls_then ? NB_ERR_LAW : NB_OK;
}

/* After the first epoch no step asks for memory, in parts or whole. */
START_TEST(steps_take_no_memory)
{
    const nb_allocator a = counting_allocator(&counts);
    learned l;
    nb_reason why = {""};
    nb_dataset *d = blobs(NB_F32, 128, 1, &a);
    make_learned(&l, NB_F32, false, &a);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.micro = _i ? 5 : 0;
    s.on_step = count_calls;
    s.allocator = &a;
    s.epochs = 2; /* of 8 steps */
    s.clip_value = 1;
    s.average = l.average;
    fine(nb_fit(&s, NULL, &why), &why);
    free_learned(&l);
    nb_dataset_free(d);
    ck_assert_uint_eq(counts.blocks, 0);
}
END_TEST

START_TEST(refused_memory)
{
    nb_dataset *d = blobs(NB_F64, 40, 1, NULL), *valid = blobs(NB_F64, 40, 2, NULL);
    size_t failures = 0;
    bool done = false;
    for (size_t k = 1; !done; k++) {
        learned l;
        nb_reason why = {""};
        nb_fit_result r;
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        d->allocator = valid->allocator = &a;
        make_learned(&l, NB_F64, false, NULL);
        nb_fit_spec s = spec_of(&l, d, valid);
        s.allocator = &a;
        s.micro = 7;
        s.epochs = 2;
        c.refuse = k;
        const nb_code code = nb_fit(&s, &r, &why);
        done =
            !c.refusals; /* an arena that is refused a large chunk is content with a smaller one */
        ck_assert_msg(code == NB_OK || (!done && code == NB_ERR_MEMORY), "%zu: %s: %s", k,
                      nb_code_name(code), why.text);
        ck_assert(code == NB_OK || why.text[0]);
        failures += code != NB_OK;
        nb_fit_result_free(&r);
        ck_assert_uint_eq(c.blocks, 0);
        free_learned(&l);
    }
    ck_assert_uint_gt(failures, 20);
    d->allocator = valid->allocator = NULL;
    nb_dataset_free(d);
    nb_dataset_free(valid);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fit");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, as_by_hand, 0, 2);
    tcase_add_test(c, parts_add_up);
    tcase_add_loop_test(c, threads_leave_no_trace, 0, 4);
    tcase_add_test(c, statistics_of_parts);
    tcase_add_loop_test(c, steps_take_no_memory, 0, 2);
    tcase_add_test(c, refused_memory);
    return run_case("fit", c);
}
