/*
 * Preprocessing: what each step makes of the data that it was fitted to, by definition; that files bring
 * back the same bits; and that whole sets, batches and streams agree.
 */
#include "counting.h"
#include "folder.h"

#include <nabla/data.h>

#include <math.h>

static nb_reason why;

enum { ROWS = 700, COLUMNS = 6 };
static double x[ROWS * COLUMNS];

/* Columns of very different sizes and offsets, correlated; the fourth is constant. */
static nb_dataset example(void)
{
    nb_rng r = nb_rng_seed(11);
    for (int i = 0; i < ROWS; i++) {
        double *row = x + i * COLUMNS;
        const double a = nb_rng_normal(&r), b = nb_rng_normal(&r), c = nb_rng_normal(&r);
        row[0] = 1e6 + a;
        row[1] = 3 * a + 0.5 * b;
        row[2] = -200 * c + 7 * b + 40;
        row[3] = 0.1;
        row[4] = a - b + 0.3 * c + 0.01 * nb_rng_normal(&r);
        row[5] = 1e-3 * nb_rng_normal(&r);
    }
    return (nb_dataset){.rows = ROWS, .columns = COLUMNS, .x = x};
}

static double at(const nb_dataset *d, int64_t i, int64_t j)
{
    return ((const double *)d->x)[i * d->columns + j];
}

static double mean_of(const nb_dataset *d, int64_t j)
{
    double sum = 0;
    for (int64_t i = 0; i < d->rows; i++)
        sum += at(d, i, j) / (double)d->rows;
    return sum;
}

/* Of columns j and k, which have mean 0. */
static double moment_of(const nb_dataset *d, int64_t j, int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i < d->rows; i++)
        sum += at(d, i, j) * at(d, i, k) / (double)d->rows;
    return sum;
}

static nb_dataset *applied(const nb_dataset *d, size_t n, const nb_prep_step *steps)
{
    nb_prep *p;
    nb_dataset *out;
    fine(nb_prep_fit(d, n, steps, &p, &why), &why);
    fine(nb_prep_apply(p, d, &out, &why), &why);
    ck_assert_int_eq(out->columns, nb_prep_columns(p));
    nb_prep_free(p);
    return out;
}

START_TEST(column_by_column)
{
    const nb_dataset d = example();
    nb_dataset *e = applied(&d, 1, &(nb_prep_step){NB_PREP_CENTRE, 0});
    for (int j = 0; j < COLUMNS; j++)
        ck_assert(fabs(mean_of(e, j)) < 1e-9);
    ck_assert(fabs(at(e, 1, 0) - at(e, 0, 0) - (x[COLUMNS] - x[0])) < 1e-9);
    nb_dataset_free(e);
    e = applied(&d, 1, &(nb_prep_step){NB_PREP_STANDARDISE, 0});
    for (int j = 0; j < COLUMNS; j++) {
        ck_assert(fabs(mean_of(e, j)) < 1e-9);
        ck_assert(j == 3 ? at(e, 5, j) == 0 : fabs(moment_of(e, j, j) - 1) < 1e-9);
    }
    nb_dataset_free(e);
    e = applied(&d, 1, &(nb_prep_step){NB_PREP_MIN_MAX, 0});
    for (int j = 0; j < COLUMNS; j++) {
        double least = 2, most = -2;
        for (int i = 0; i < ROWS; i++) {
            least = fmin(least, at(e, i, j));
            most = fmax(most, at(e, i, j));
        }
        ck_assert(least == 0 && fabs(most - (j != 3)) < 1e-12);
    }
    nb_dataset_free(e);
    e = applied(&d, 0, NULL);
    ck_assert_mem_eq(e->x, x, sizeof x);
    nb_dataset_free(e);
}
END_TEST

START_TEST(whitening)
{
    const nb_dataset d = example();
    nb_dataset *e = applied(&d, 1, &(nb_prep_step){NB_PREP_WHITEN, 0}), *f;
    /* variances: 4e4 and 13 or less, 1e-4 and 1e-6, and none: the constant column has no direction */
    for (int j = 0; j < COLUMNS; j++)
        for (int k = 0; k <= j; k++)
            ck_assert_msg(fabs(moment_of(e, j, k) - (j == k && j < 5)) < 1e-5, "%d %d %g", j, k,
                          moment_of(e, j, k));
    f = applied(&d, 1, &(nb_prep_step){NB_PREP_WHITEN, 2});
    ck_assert_int_eq(f->columns, 2);
    for (int i = 0; i < ROWS; i++)
        ck_assert(at(f, i, 0) == at(e, i, 0) && at(f, i, 1) == at(e, i, 1));
    nb_dataset_free(e);
    nb_dataset_free(f);
    /* the first component of points on a line is the place on it */
    static double line[40];
    for (int i = 0; i < 20; i++) {
        line[2 * i] = 3 * (i - 9.5);
        line[2 * i + 1] = 4 * (i - 9.5);
    }
    const nb_dataset g = {.rows = 20, .columns = 2, .x = line};
    e = applied(&g, 1, &(nb_prep_step){NB_PREP_WHITEN, 0});
    const double deviation = sqrt((20.0 * 20 - 1) / 12);
    for (int i = 0; i < 20; i++)
        ck_assert(fabs(fabs(at(e, i, 0)) - fabs(i - 9.5) / deviation) < 1e-12 && at(e, i, 1) == 0);
    nb_dataset_free(e);
}
END_TEST

START_TEST(categories)
{
    const double codes[] = {5, 1, 0, 6, 0, 2, 7, 1, 1};
    const int64_t levels[] = {0, 2, 3}, label[] = {0, 1, 1};
    nb_dataset d = {
        .rows = 3, .columns = 3, .x = codes, .levels = levels, .label = label, .classes = 2};
    const double expected[] = {5, 0, 1, 1, 0, 0, 6, 1, 0, 0, 0, 1, 7, 0, 1, 0, 1, 0};
    nb_dataset *e = applied(&d, 1, &(nb_prep_step){NB_PREP_ONE_HOT, 0});
    ck_assert(e->columns == 6 && !e->levels && e->label[2] == 1 && e->classes == 2);
    ck_assert_mem_eq(e->x, expected, sizeof expected);
    nb_dataset_free(e);
    nb_prep *p;
    const nb_prep_step both[] = {{NB_PREP_ONE_HOT, 0}, {NB_PREP_STANDARDISE, 0}};
    fine(nb_prep_fit(&d, 2, both, &p, &why), &why);
    ck_assert_int_eq(nb_prep_columns(p), 6);
    const double unknown[] = {5, 1, 3}, half[] = {5, 0.5, 1};
    d = (nb_dataset){.rows = 1, .columns = 3, .x = unknown};
    said(nb_prep_apply(p, &d, &e, &why), NB_ERR_INDEX, &why, "code 3 in row 1, column 3");
    d.x = half;
    said(nb_prep_apply(p, &d, &e, &why), NB_ERR_INDEX, &why, "code 0.5 in row 1, column 2");
    ck_assert_ptr_null(e);
    d.columns = 2;
    said(nb_prep_apply(p, &d, &e, &why), NB_ERR_SHAPE, &why,
         "2 columns, those that it was fitted to");
    nb_prep_free(p);
    d.columns = 3;
    said(nb_prep_fit(&d, 2, (nb_prep_step[]){both[1], both[0]}, &p, &why), NB_ERR_ARGUMENT, &why,
         "must be the first");
    ck_assert_ptr_null(p);
}
END_TEST

static const nb_prep_step steps[] = {
    {NB_PREP_STANDARDISE, 0}, {NB_PREP_WHITEN, 3}, {NB_PREP_MIN_MAX, 0}};

START_TEST(in_a_file)
{
    const nb_dataset d = example();
    nb_prep *p, *q;
    nb_dataset *e, *g;
    nb_file *f = nb_file_new(NULL), *loaded;
    fine(nb_prep_fit(&d, 3, steps, &p, &why), &why);
    fine(nb_prep_put(p, "in.", f, &why), &why);
    fine(nb_file_save(f, path("p"), &why), &why);
    fine(nb_file_load(path("p"), NULL, &loaded, &why), &why);
    fine(nb_prep_get(loaded, "in.", NULL, &q, &why), &why);
    fine(nb_prep_apply(p, &d, &e, &why), &why);
    fine(nb_prep_apply(q, &d, &g, &why), &why);
    ck_assert_int_eq(g->columns, 3);
    ck_assert_mem_eq(e->x, g->x, ROWS * 3 * sizeof(double));
    nb_prep_free(q);
    static const char *const texts[] = {"",
                                        "2 6",
                                        "1 0",
                                        "1 6 standardise",
                                        "1 6 unheard 6",
                                        "1 7 standardise 7",
                                        "1 6 standardise 6 whiten 4",
                                        "1 6 one-hot 6",
                                        "1 2000000000 standardise 2000000000",
                                        "1 6 standardise 5"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        nb_file_put_text(loaded, "in.prep", texts[i]);
        ck_assert_msg(nb_prep_get(loaded, "in.", NULL, &q, &why) == NB_ERR_FORMAT, "%s", texts[i]);
        ck_assert_ptr_null(q);
    }
    said(nb_prep_get(loaded, "", NULL, &q, &why), NB_ERR_FORMAT, &why, "no \"prep\"");
    nb_prep_free(p);
    nb_dataset_free(e);
    nb_dataset_free(g);
    nb_file_free(f);
    nb_file_free(loaded);
}
END_TEST

START_TEST(streams_and_batches_agree)
{
    const nb_dataset d = example();
    const nb_dataset *b;
    nb_prep *p, *q;
    nb_reader *r;
    nb_batches *batches;
    nb_dataset *e, *g;
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_F64, NB_SHAPE(ROWS, COLUMNS), x}, path("x"), &why),
         &why);
    fine(nb_npy_open(path("x"), NULL, NULL, &r, &why), &why);
    fine(nb_prep_fit(&d, 3, steps, &p, &why), &why);
    fine(nb_prep_fit_reader(r, 3, steps, &q, &why), &why);
    fine(nb_prep_apply(p, &d, &e, &why), &why);
    fine(nb_prep_apply(q, &d, &g, &why), &why);
    ck_assert_mem_eq(e->x, g->x, ROWS * 3 * sizeof(double));
    fine(nb_batches_stream(r, &(nb_batch_options){.size = 33, .prep = q}, &batches, &why), &why);
    int64_t at_row = 0;
    for (;;) {
        fine(nb_batches_next(batches, &b, &why), &why);
        if (!b)
            break;
        ck_assert_mem_eq(b->x, (const double *)e->x + at_row * 3,
                         (size_t)b->rows * 3 * sizeof(double));
        at_row += b->rows;
    }
    ck_assert_int_eq(at_row, ROWS);
    nb_batches_free(batches);
    nb_reader_free(r);
    nb_prep_free(p);
    nb_prep_free(q);
    nb_dataset_free(e);
    nb_dataset_free(g);
}
END_TEST

START_TEST(bad_fits)
{
    nb_prep *p;
    nb_dataset d = example();
    x[3 * COLUMNS + 2] = (double)NAN;
    for (int k = 1; k <= NB_PREP_WHITEN; k++)
        said(nb_prep_fit(&d, 1, &(nb_prep_step){(nb_prep_kind)k, 0}, &p, &why), NB_ERR_ANOMALY,
             &why, "row 4, column 3");
    d = example();
    said(nb_prep_fit(&d, 1, &(nb_prep_step){NB_PREP_WHITEN, 7}, &p, &why), NB_ERR_ARGUMENT, &why,
         "7 components of 6");
    said(nb_prep_fit(&d, 1, &(nb_prep_step){(nb_prep_kind)9, 0}, &p, &why), NB_ERR_ARGUMENT, &why,
         "no such step");
    d.rows = 0;
    said(nb_prep_fit(&d, 1, steps, &p, &why), NB_ERR_EMPTY, &why, "is empty");
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(out_of_memory)
{
    bool done = false;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = k, .for_ever = true};
        const nb_allocator a = counting_allocator(&c);
        nb_dataset d = example(), *e = NULL;
        nb_prep *p = NULL, *q = NULL;
        nb_file *f = nb_file_new(&a);
        d.rows = 20;
        d.allocator = &a;
        nb_code code = f ? nb_prep_fit(&d, 3, steps, &p, &why) : NB_ERR_MEMORY;
        if (!code)
            code = nb_prep_put(p, "", f, &why);
        if (!code)
            code = nb_prep_get(f, "", &a, &q, &why);
        if (!code)
            code = nb_prep_apply(q, &d, &e, &why);
        nb_dataset_free(e);
        nb_prep_free(p);
        nb_prep_free(q);
        nb_file_free(f);
        ck_assert_int_eq(code, c.refusals ? NB_ERR_MEMORY : NB_OK);
        ck_assert_uint_eq(c.blocks, 0);
        done = !c.refusals;
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("prep");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, column_by_column);
    tcase_add_test(c, whitening);
    tcase_add_test(c, categories);
    tcase_add_test(c, in_a_file);
    tcase_add_test(c, streams_and_batches_agree);
    tcase_add_test(c, bad_fits);
    tcase_add_test(c, out_of_memory);
    return run_case("prep", c);
}
