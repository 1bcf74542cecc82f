/*
 * Data sets, generators, splits, and readers of arrays: what holds for any of them by its definition.
 */
#include "data.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* ---- data sets ------------------------------------------------------------------------------- */

START_TEST(checks)
{
    nb_dataset d = plain(10, 3);
    fine(nb_dataset_check(&d, &why), &why);
    plain_x[7] = (double)NAN;
    said(nb_dataset_check(&d, &why), NB_ERR_ANOMALY, &why, "NaN in x at row 4, column 2");
    plain_x[7] = (double)INFINITY;
    said(nb_dataset_check(&d, &why), NB_ERR_ANOMALY, &why,
         "infinite number in x at row 4, column 2");
    d = plain(10, 3);
    plain_label[9] = 3;
    said(nb_dataset_check(&d, &why), NB_ERR_INDEX, &why, "label 3 in row 10, but there are 3");
    plain_label[9] = -1;
    d.classes = 0;
    said(nb_dataset_check(&d, &why), NB_ERR_INDEX, &why, "label -1 in row 10 is negative");
    d.rows = 0;
    said(nb_dataset_check(&d, &why), NB_ERR_EMPTY, &why, "the data set is empty");
    d = plain(10, 3);
    const int64_t levels[] = {10, 0}, few[] = {9, 0};
    d.levels = levels;
    fine(nb_dataset_check(&d, &why), &why);
    d.levels = few;
    said(nb_dataset_check(&d, &why), NB_ERR_INDEX, &why, "code 9 at row 10, column 1");
    d.shape = NB_SHAPE(3);
    said(nb_dataset_check(&d, &why), NB_ERR_SHAPE, &why, "rows of 2 columns have the shape [3]");
    said(nb_dataset_check(NULL, &why), NB_ERR_ARGUMENT, &why, "no data set");
    d = (nb_dataset){.rows = INT64_MAX / 2, .columns = 4, .x = plain_x};
    said(nb_dataset_check(&d, &why), NB_ERR_OVERFLOW, &why, "overflows");
}
END_TEST

START_TEST(takes_rows)
{
    nb_dataset d = plain(10, 3), *e;
    float y[30];
    for (int i = 0; i < 30; i++)
        y[i] = (float)i;
    fine(nb_dataset_take(&d, 3, (int64_t[]){9, 0, 9}, &e, &why), &why);
    ck_assert(e->rows == 3 && at(e, 0, 1) == -9 && at(e, 1, 0) == 0 && at(e, 2, 0) == 9);
    ck_assert(e->label[0] == plain_label[9] && e->classes == 3);
    ck_assert(nb_shape_equal(e->shape, NB_SHAPE(2)));
    nb_dataset_free(e);
    d = (nb_dataset){.rows = 10, .columns = 1, .dtype = NB_F32, .x = y, .targets = 3, .y = y};
    fine(nb_dataset_take(&d, 2, NULL, &e, &why), &why);
    ck_assert(!e->label && ((const float *)e->y)[5] == 5);
    nb_dataset_free(e);
    said(nb_dataset_take(&d, 1, (int64_t[]){10}, &e, &why), NB_ERR_INDEX, &why, "row 10");
    ck_assert_ptr_null(e);
    nb_dataset_free(NULL);
}
END_TEST

START_TEST(one_hot)
{
    float to[6] = {7, 7, 7, 7, 7, 7};
    const float expected[6] = {0, 0, 1, 1, 0, 0};
    said(nb_one_hot(2, (int64_t[]){2, 3}, 3, NB_F32, to, &why), NB_ERR_INDEX, &why,
         "label 3 in row 2");
    ck_assert(to[0] == 7);
    fine(nb_one_hot(2, (int64_t[]){2, 0}, 3, NB_F32, to, &why), &why);
    ck_assert_mem_eq(to, expected, sizeof to);
    said(nb_one_hot(2, NULL, 3, NB_F32, to, &why), NB_ERR_ARGUMENT, &why, "one-hot");
}
END_TEST

/* ---- generators ------------------------------------------------------------------------------ */

typedef nb_code maker(const nb_make *m, nb_dataset **out, nb_reason *why);

static nb_dataset *made(maker *m, nb_make o)
{
    nb_dataset *d, *e;
    fine(m(&o, &d, &why), &why);
    fine(nb_dataset_check(d, &why), &why);
    ck_assert_int_eq(d->rows, o.rows ? o.rows : 1000);
    fine(m(&o, &e, &why), &why); /* the same again */
    ck_assert_mem_eq(d->x, e->x,
                     (size_t)(d->rows * d->columns) * (o.dtype == NB_F64 ? sizeof(double) : 4));
    nb_dataset_free(e);
    o.seed++;
    fine(m(&o, &e, &why), &why);
    ck_assert(at(d, 0, 0) != at(e, 0, 0) || at(d, 3, 1) != at(e, 3, 1));
    nb_dataset_free(e);
    for (int64_t i = 0; d->label && i < d->rows; i++)
        if (d->label[i] != i % d->classes)
            ck_abort_msg("row %d has label %d", (int)i, (int)d->label[i]);
    return d;
}

START_TEST(curves)
{
    int wrong = 0;
    nb_dataset *d = made(nb_make_moons, (nb_make){0});
    for (int64_t i = 0; i < d->rows; i++) {
        const double x = at(d, i, 0) - (d->label[i] ? 1 : 0),
                     y = at(d, i, 1) - (d->label[i] ? 0.5 : 0);
        wrong += fabs(hypot(x, y) - 1) > 1e-12 || (d->label[i] ? y > 1e-12 : y < -1e-12);
    }
    nb_dataset_free(d);
    d = made(nb_make_circles, (nb_make){.rows = 500});
    for (int64_t i = 0; i < d->rows; i++)
        wrong += fabs(hypot(at(d, i, 0), at(d, i, 1)) - (d->label[i] ? 0.5 : 1)) > 1e-12;
    nb_dataset_free(d);
    d = made(nb_make_spirals, (nb_make){.rows = 900, .classes = 3});
    for (int64_t i = 0; i < d->rows; i++) {
        const double r = hypot(at(d, i, 0), at(d, i, 1));
        const double t = 3 * pi * r + 2 * pi * (double)d->label[i] / 3;
        wrong += hypot(r * cos(t) - at(d, i, 0), r * sin(t) - at(d, i, 1)) > 1e-9 || r > 1;
    }
    nb_dataset_free(d);
    d = made(nb_make_xor, (nb_make){0});
    for (int64_t i = 0; i < d->rows; i++)
        wrong += (at(d, i, 0) * at(d, i, 1) < 0) != (d->label[i] == 1) || fabs(at(d, i, 0)) > 1;
    nb_dataset_free(d);
    ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(clouds)
{
    nb_dataset *d = made(nb_make_blobs, (nb_make){.rows = 3000, .columns = 5, .seed = 4});
    double mean[3][5] = {{0}}, spread = 0;
    for (int64_t i = 0; i < d->rows; i++)
        for (int j = 0; j < 5; j++)
            mean[d->label[i]][j] += at(d, i, j) / 1000;
    for (int64_t i = 0; i < d->rows; i++)
        for (int j = 0; j < 5; j++)
            spread += pow(at(d, i, j) - mean[d->label[i]][j], 2) / 15000;
    ck_assert(fabs(spread - 1) < 0.05);
    ck_assert(fabs(mean[0][0] - mean[1][0]) > 0.2 && fabs(mean[0][0]) < 10.2);
    nb_dataset_free(d);
    d = made(nb_make_sine, (nb_make){.rows = 2000, .noise = 0.1, .seed = 1});
    spread = 0;
    for (int64_t i = 0; i < d->rows; i++)
        spread += pow(((const double *)d->y)[i] - sin(at(d, i, 0)), 2) / 2000;
    ck_assert(fabs(spread - 0.01) < 0.001 && !d->label && d->targets == 1);
    nb_dataset_free(d);
    d = made(nb_make_moons, (nb_make){.dtype = NB_F32, .noise = 0.2});
    ck_assert_int_eq(d->dtype, NB_F32);
    nb_dataset_free(d);
    said(nb_make_moons(&(nb_make){.rows = -1}, &d, &why), NB_ERR_ARGUMENT, &why, "-1 rows");
    said(nb_make_digits(&(nb_make){.noise = -1}, &d, &why), NB_ERR_ARGUMENT, &why, "noise -1");
}
END_TEST

static float distance(const float *a, const float *b)
{
    float sum = 0;
    for (int k = 0; k < 64; k++)
        sum += (a[k] - b[k]) * (a[k] - b[k]);
    return sum;
}

/* Of n images, which is nearest to x. */
static int nearest(const float *x, const float *image, int n)
{
    int best = 0;
    for (int j = 1; j < n; j++)
        if (distance(x, image + 64 * j) < distance(x, image + 64 * best))
            best = j;
    return best;
}

/* Digits are told apart by their nearest neighbour, but ten mean digits do not suffice. */
START_TEST(digits)
{
    enum { LEARN = 1200, TRY = 300 };
    nb_dataset *d =
        made(nb_make_digits, (nb_make){.rows = LEARN + TRY, .dtype = NB_F32, .seed = 9});
    ck_assert(nb_shape_equal(d->shape, NB_SHAPE(8, 8)) && d->classes == 10);
    const float *x = d->x;
    float mean[10 * 64] = {0};
    int neighbours = 0, means = 0, out = 0;
    for (int64_t i = 0; i < d->rows * 64; i++)
        out += x[i] < 0 || x[i] > 16 || x[i] != roundf(x[i]);
    for (int i = 0; i < LEARN * 64; i++)
        mean[i / 64 % 10 * 64 + i % 64] += x[i] * 10 / LEARN;
    for (int i = LEARN; i < LEARN + TRY; i++) {
        neighbours += nearest(x + 64 * i, x, LEARN) % 10 == i % 10;
        means += nearest(x + 64 * i, mean, 10) == i % 10;
    }
    ck_assert_msg(!out && neighbours > TRY * 96 / 100 && means > TRY / 2 && means < TRY * 96 / 100,
                  "%d and %d of %d", neighbours, means, (int)TRY);
    nb_dataset_free(d);
}
END_TEST

/* ---- splits ---------------------------------------------------------------------------------- */

START_TEST(splits)
{
    for (int stratified = 0; stratified < 2; stratified++) {
        nb_dataset d = plain(1797, 4), *rest, *part, *again, *other;
        int seen[1797] = {0}, wrong = 0, moved = 0;
        double all[4] = {0}, in[4] = {0};
        fine(nb_dataset_split(&d, 0.2, stratified, 7, &rest, &part, &why), &why);
        ck_assert(rest->rows == 1437 && part->rows == 360);
        for (int64_t i = 0; i < 1797; i++) {
            const nb_dataset *p = i < 360 ? part : rest;
            const int64_t row = i < 360 ? i : i - 360, from = (int64_t)at(p, row, 0);
            seen[from]++;
            moved += from != i;
            wrong += p->label[row] != plain_label[from];
            all[p->label[row]]++;
            in[p->label[row]] += i < 360;
        }
        for (int i = 0; i < 1797; i++)
            wrong += seen[i] != 1;
        for (int c = 0; c < 4 && stratified; c++)
            wrong += fabs(in[c] - all[c] * 360 / 1797) >= 1;
        ck_assert(!wrong && moved > 1700);
        fine(nb_dataset_split(&d, 0.2, stratified, 7, &other, &again, &why), &why);
        ck_assert_mem_eq(part->x, again->x, 360 * 2 * sizeof(double));
        nb_dataset_free(rest);
        nb_dataset_free(part);
        nb_dataset_free(other);
        nb_dataset_free(again);
    }
}
END_TEST

START_TEST(bad_splits)
{
    nb_dataset d = plain(10, 3), *rest, *part;
    const double shares[] = {0, 1, -0.1, (double)NAN};
    for (int i = 0; i < 4; i++)
        said(nb_dataset_split(&d, shares[i], false, 1, &rest, &part, &why), NB_ERR_ARGUMENT, &why,
             "must lie between 0 and 1");
    said(nb_dataset_split(&d, 0.95, false, 1, &rest, &part, &why), NB_ERR_EMPTY, &why,
         "part empty");
    fine(nb_dataset_split(&d, 0.1, false, 1, &rest, &part, &why), &why);
    ck_assert(part->rows == 1); /* 0.1 * 10 is 1, not a little more */
    nb_dataset_free(rest);
    nb_dataset_free(part);
    d.label = NULL;
    said(nb_dataset_split(&d, 0.5, true, 1, &rest, &part, &why), NB_ERR_ARGUMENT, &why,
         "no labels");
}
END_TEST

START_TEST(folds)
{
    int64_t fold[103];
    for (int stratified = 0; stratified < 2; stratified++) {
        nb_dataset d = plain(103, 3), *rest, *part;
        int size[5] = {0}, of[5][3] = {{0}}, all[3] = {0};
        fine(nb_dataset_folds(&d, 5, stratified, 3, fold, &why), &why);
        for (int i = 0; i < 103; i++) {
            size[fold[i]]++;
            of[fold[i]][plain_label[i]]++;
            all[plain_label[i]]++;
        }
        for (int k = 0; k < 5; k++) {
            ck_assert(size[k] == 20 || size[k] == 21);
            for (int c = 0; c < 3 && stratified; c++)
                ck_assert(of[k][c] == all[c] / 5 || of[k][c] == (all[c] + 4) / 5);
            fine(nb_dataset_fold(&d, fold, k, &rest, &part, &why), &why);
            ck_assert(part->rows == size[k] && rest->rows == 103 - size[k]);
            for (int64_t i = 0; i < part->rows; i++)
                ck_assert_int_eq(fold[(int)at(part, i, 0)], k);
            nb_dataset_free(rest);
            nb_dataset_free(part);
        }
        said(nb_dataset_fold(&d, fold, 5, &rest, &part, &why), NB_ERR_EMPTY, &why, "0 of 103");
        said(nb_dataset_folds(&d, 1, false, 3, fold, &why), NB_ERR_ARGUMENT, &why, "1 folds");
    }
}
END_TEST

/* ---- readers of arrays ----------------------------------------------------------------------- */

static void write_idx(const char *name, int rank, const uint32_t *dims, const void *data,
                      size_t size)
{
    unsigned char all[600] = {0, 0, 8, (unsigned char)rank};
    for (int i = 0; i < rank; i++)
        for (int b = 0; b < 4; b++)
            all[4 + 4 * i + b] = (unsigned char)(dims[i] >> (24 - 8 * b) & 255);
    memcpy(all + 4 + 4 * rank, data, size);
    write_bytes(name, all, 4 + 4 * (size_t)rank + size);
}

START_TEST(idx)
{
    nb_reader *r;
    nb_dataset *d;
    unsigned char pixel[301] = {0}, label[50];
    for (int i = 0; i < 300; i++)
        pixel[i] = (unsigned char)i;
    for (int i = 0; i < 50; i++)
        label[i] = (unsigned char)(i % 10);
    const uint32_t dims[3] = {50, 2, 3}, count[1] = {50}, short_count[1] = {49};
    write_idx("x", 3, dims, pixel, 300);
    write_idx("y", 1, count, label, 50);
    fine(nb_idx_open(path("x"), path("y"), &(nb_idx_options){.dtype = NB_F32}, &r, &why), &why);
    fine(nb_reader_load(r, &d, &why), &why);
    ck_assert(d->rows == 50 && d->classes == 10 && nb_shape_equal(d->shape, NB_SHAPE(2, 3)));
    ck_assert(at(d, 42, 5) == (42 * 6 + 5) % 256 && d->label[49] == 9);
    nb_dataset_free(d);
    nb_reader_free(r);
    fine(nb_idx_open(path("x"), NULL, NULL, &r, &why), &why);
    fine(nb_reader_load(r, &d, &why), &why);
    ck_assert(!d->label && d->dtype == NB_F64);
    nb_dataset_free(d);
    nb_reader_free(r);
    fine(nb_idx_open(path("x"), path("y"), &(nb_idx_options){.classes = 9}, &r, &why), &why);
    said(nb_reader_load(r, &d, &why), NB_ERR_INDEX, &why, "label 9 in row 10 is out of range");
    nb_reader_free(r);
    write_idx("y", 1, short_count, label, 49);
    said(nb_idx_open(path("x"), path("y"), NULL, &r, &why), NB_ERR_SHAPE, &why, "has 49");
    ck_assert_ptr_null(r);
    write_idx("x", 3, dims, pixel, 299);
    said(nb_idx_open(path("x"), NULL, NULL, &r, &why), NB_ERR_FORMAT, &why,
         "truncated: its header says");
    write_idx("x", 3, dims, pixel, 301);
    said(nb_idx_open(path("x"), NULL, NULL, &r, &why), NB_ERR_FORMAT, &why, "something follows");
    const uint32_t huge[4] = {0xffffffff, 0xffffffff, 0xffffffff, 3};
    write_idx("x", 4, huge, pixel, 300);
    said(nb_idx_open(path("x"), NULL, NULL, &r, &why), NB_ERR_FORMAT, &why, "its header says");
    write_bytes("x", "\0\0\x0d\2", 4);
    said(nb_idx_open(path("x"), NULL, NULL, &r, &why), NB_ERR_FORMAT, &why,
         "begins with 00 00 0d 02");
    write_bytes("x", "\0\0\x08\2\0", 5);
    said(nb_idx_open(path("x"), NULL, NULL, &r, &why), NB_ERR_FORMAT, &why, "truncated");
}
END_TEST

START_TEST(npy_rows)
{
    static int16_t x[3000];
    static int64_t label[1000];
    static float y[2000];
    nb_reader *r;
    nb_dataset *d;
    for (int i = 0; i < 3000; i++)
        x[i] = (int16_t)(i - 1500);
    for (int i = 0; i < 1000; i++) {
        label[i] = i;
        y[2 * i + 1] = (float)i / 2;
    }
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_I16, NB_SHAPE(1000, 3), x}, path("x"), &why), &why);
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_I64, NB_SHAPE(1000), label}, path("l"), &why), &why);
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_F32, NB_SHAPE(1000, 2), y}, path("y"), &why), &why);
    fine(nb_npy_open(path("x"), path("l"), NULL, &r, &why), &why);
    fine(nb_reader_load(r, &d, &why), &why);
    ck_assert(d->rows == 1000 && at(d, 999, 2) == 1499 && d->label[999] == 999 && !d->classes);
    nb_dataset_free(d);
    nb_reader_free(r);
    fine(nb_npy_open(path("x"), path("y"), NULL, &r, &why), &why);
    fine(nb_reader_load(r, &d, &why), &why);
    ck_assert(!d->label && d->targets == 2 && ((const double *)d->y)[1999] == 499.5);
    nb_dataset_free(d);
    nb_reader_free(r);
    x[0] = -1;
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_I16, NB_SHAPE(1000), x}, path("l"), &why), &why);
    fine(nb_npy_open(path("x"), path("l"), NULL, &r, &why), &why);
    said(nb_reader_load(r, &d, &why), NB_ERR_INDEX, &why, "label -1 in row 1");
    nb_reader_free(r);
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_I16, NB_POINT, x}, path("p"), &why), &why);
    said(nb_npy_open(path("p"), NULL, NULL, &r, &why), NB_ERR_SHAPE, &why, "has no rows");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("data");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, checks);
    tcase_add_test(c, takes_rows);
    tcase_add_test(c, one_hot);
    tcase_add_test(c, curves);
    tcase_add_test(c, clouds);
    tcase_add_test(c, digits);
    tcase_add_test(c, splits);
    tcase_add_test(c, bad_splits);
    tcase_add_test(c, folds);
    tcase_add_test(c, idx);
    tcase_add_test(c, npy_rows);
    return run_case("data", c);
}
