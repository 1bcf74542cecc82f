/*
 * What a monitor finds: dead and saturated units, parameters of all kinds; and how it says so.
 */
#include "monitor.h"

/* ---- units ----------------------------------------------------------------------------------- */

static const nb_monitor_row *see(chain *c, int64_t number, nb_shape shape, const double *x)
{
    const nb_mark start = nb_tape_mark(c->t);
    nb_monitor_begin(c->w, c->t, number);
    const nb_pass m = nb_training_pass(c->p, c->t, NULL);
    nb_monitor_watch(c->w, &m, "x", nb_tensor(c->t, "x", shape, x));
    nb_backward(nb_sum(nb_pass_var(&m, c->a)));
    ck_assert_int_eq(nb_monitor_look(c->w, NULL), NB_OK);
    nb_rewind(start);
    return row_of(c, NB_MONITOR_ACTIVATION, "x");
}

START_TEST(dead_units)
{
    chain c = chain_of(NB_F64, 1, 1);
    watch_with(&c, NULL);
    /* along the last axis: of three units the first is 0 in both rows */
    const nb_monitor_row *row = see(&c, 1, NB_SHAPE(2, 3), (double[]){0, 0, 1, 0, 2, 0});
    ck_assert(row->units == 3 && row->dead == 1 && !row->flags);
    row = see(&c, 2, NB_SHAPE(2, 3), (double[]){0, 0, 1, 0, 0, 0});
    ck_assert(row->dead == 2 && raised(row, NB_FLAG_DEAD));
    /* channels: [2 2 1 2], the second is 0 in both images */
    row = see(&c, 3, NB_SHAPE(2, 2, 1, 2), (double[]){0, 1, 0, 0, 1, 0, 0, 0});
    ck_assert(row->units == 2 && row->dead == 1);
    row = see(&c, 4, NB_SHAPE(0, 2), NULL);
    ck_assert(row->units == 0 && row->dead == 0 && row->of.n == 0);
    /* only after two looks in succession */
    watch_with(&c, &(nb_monitor_options){.silent = 2});
    ck_assert(see(&c, 1, NB_SHAPE(1, 2), (double[]){0, 0})->dead == 0);
    ck_assert(see(&c, 2, NB_SHAPE(1, 2), (double[]){0, 1})->dead == 1);
    ck_assert(see(&c, 3, NB_SHAPE(1, 2), (double[]){1, 0})->dead == 0);
    ck_assert(see(&c, 4, NB_SHAPE(1, 2), (double[]){0, 0})->dead == 1);
    chain_free(&c);
}
END_TEST

START_TEST(saturation)
{
    chain c = chain_of(NB_F64, 1, 1);
    const nb_monitor_range range[] = {{"y", -1, 1}, {NULL, 0.01, 0.99}};
    watch_with(&c, &(nb_monitor_options){.ranges = 2, .range = range});
    const nb_monitor_row *row =
        see(&c, 1, NB_SHAPE(2, 2), (double[]){0.01, 0.5, 0.99, (double)NAN});
    ck_assert(row->saturated == 0.5 && row->dead == 1 && row->flags == 1u << NB_FLAG_NOT_FINITE);
    row = see(&c, 2, NB_SHAPE(2, 2), (double[]){0.001, 0.5, 0.999, 1});
    ck_assert(row->saturated == 0.75 && row->flags == 1u << NB_FLAG_SATURATED);
    chain_free(&c);
}
END_TEST

/* ---- parameters ------------------------------------------------------------------------------ */

/* A bias is not compared, a frozen parameter has no row. */
START_TEST(parameters_of_all_kinds)
{
    nb_reason why = {""};
    nb_params *p = nb_params_new(NULL);
    for (int k = 0; k < 4; k++)
        nb_params_add(
            p, (const char *[]){"w", "b", "f", "v"}[k], k == 1 ? NB_SHAPE(2) : NB_SHAPE(2, 1),
            &(nb_param_options){.init = {NB_INIT_CONSTANT, k != 1, 0}, .frozen = k == 2}, NULL);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 1e-7}, &why);
    nb_monitor *m = nb_monitor_new(p, NULL, &why);
    memcpy(nb_params_grads(p), (double[]){1, 0, 1e9, 1e9, 5, 5, 3, 4}, 8 * sizeof(double));
    ck_assert(nb_monitor_begin(m, NULL, 1));
    fine(nb_monitor_look(m, &why), &why);
    fine(nb_monitor_step(m, o, &why), &why);
    ck_assert_ptr_null(nb_monitor_latest(m, NB_MONITOR_GRADIENT, "f"));
    ck_assert(near(nb_monitor_latest(m, NB_MONITOR_GRADIENT, "w")->ratio, 0.2, 1e-15));
    const nb_monitor_row *b = nb_monitor_latest(m, NB_MONITOR_GRADIENT, "b");
    ck_assert(isnan(b->ratio) && !b->flags);
    b = nb_monitor_latest(m, NB_MONITOR_UPDATE, "b");
    ck_assert(isnan(b->ratio) && !b->flags && near(b->of.mean, -100, 1e-12));
    const nb_monitor_row *w = nb_monitor_latest(m, NB_MONITOR_UPDATE, "w");
    ck_assert(near(w->ratio, 1e-7 / sqrt(2), 1e-6) && raised(w, NB_FLAG_SLOW));
    /* a gradient that is not finite: the step fails, and the row tells why */
    ((double *)nb_params_grads(p))[6] = (double)NAN;
    ck_assert(nb_monitor_begin(m, NULL, 2));
    said(nb_monitor_step(m, o, &why), NB_ERR_ANOMALY, &why, "\"v\"");
    const nb_monitor_row *v = nb_monitor_latest(m, NB_MONITOR_GRADIENT, "v");
    ck_assert(v->step == 2 && v->of.bad == 1 && raised(v, NB_FLAG_NOT_FINITE));
    ck_assert(nb_monitor_latest(m, NB_MONITOR_UPDATE, "v")->step == 1);
    ((double *)nb_params_grads(p))[6] = 3;
    fine(nb_monitor_step(m, o, &why), &why); /* this look is over */
    ck_assert(nb_optim_steps(o) == 2 && nb_monitor_latest(m, NB_MONITOR_UPDATE, "v")->step == 1);
    nb_monitor_free(m);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

static char *text_of(const nb_monitor *m, nb_code (*write)(FILE *, const nb_monitor *))
{
    static char text[8192];
    FILE *f = tmpfile();
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(write(f, m), NB_OK);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

START_TEST(texts)
{
    chain c = chain_of(NB_F64, 0.5, 1e-3);
    ck_assert_int_eq(nb_monitor_print(NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_monitor_write_csv(NULL, NULL), NB_ERR_ARGUMENT);
    watch_with(&c, NULL);
    ck_assert_ptr_nonnull(strstr(text_of(c.w, nb_monitor_print), "nothing was looked at"));
    nb_monitor_begin(c.w, c.t, 1);
    const nb_pass m = nb_training_pass(c.p, c.t, NULL);
    nb_monitor_watch(c.w, &m, "say \"x\"\n", nb_pass_var(&m, c.a));
    nb_backward(record(&c, &m));
    ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
    const char *table = text_of(c.w, nb_monitor_print);
    ck_assert_ptr_nonnull(strstr(table, "activation gradient, step 1"));
    ck_assert_ptr_nonnull(strstr(table, "1.0e-03  ! vanishing\n"));
    ck_assert_ptr_nonnull(strstr(table, "say \"x\"? "));
    const char *csv = text_of(c.w, nb_monitor_write_csv);
    ck_assert(strstr(csv, "step,name,kind,") == csv);
    ck_assert_ptr_nonnull(strstr(csv, "\n1,\"say \"\"x\"\"\n\",activation,1,0,0.5,0,0.5,0.5,0.5,"
                                      "0.5,0.5,0.5,1,0,,,\n"));
    ck_assert_ptr_nonnull(strstr(csv, ",0.001,vanishing\n"));
    for (int k = 0; k <= NB_MONITOR_FLAG_COUNT; k++)
        ck_assert((nb_monitor_flag_name((nb_monitor_flag)k)[0] == '?') ==
                  (k == NB_MONITOR_FLAG_COUNT));
    ck_assert_str_eq(nb_monitor_kind_name(NB_MONITOR_KIND_COUNT), "?");
    chain_free(&c);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("monitor_rows");
    tcase_add_test(c, dead_units);
    tcase_add_test(c, saturation);
    tcase_add_test(c, parameters_of_all_kinds);
    tcase_add_test(c, texts);
    return run_case("monitor_rows", c);
}
