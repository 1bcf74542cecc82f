/*
 * Batches: each row once in an epoch, from memory and from files; a position saved is a position restored.
 */
#include "data.h"

/* ---- batches --------------------------------------------------------------------------------- */

/* First columns of an epoch's rows, one after the other; a negative number ends each batch. */
static int64_t epoch(nb_batches *b, double *to)
{
    const nb_dataset *d;
    int64_t n = 0;
    for (;;) {
        fine(nb_batches_next(b, &d, &why), &why);
        if (!d)
            return n;
        for (int64_t i = 0; i < d->rows; i++) {
            ck_assert_int_eq(d->label[i], plain_label[(int)at(d, i, 0)]);
            to[n++] = at(d, i, 0);
        }
        to[n++] = -(double)d->rows;
    }
}

/* Whether the rows are 0 to n - 1, each once. */
static bool is_whole(const double *rows, int64_t count, int64_t n)
{
    static char seen[MOST];
    int64_t sum = 0;
    memset(seen, 0, sizeof seen);
    for (int64_t i = 0; i < count; i++)
        if (rows[i] >= 0 && !seen[(int)rows[i]]++)
            sum++;
    return sum == n;
}

START_TEST(batches_of_a_data_set)
{
    static double first[MOST], second[MOST], again[MOST];
    nb_dataset d = plain(100, 3);
    nb_batches *b;
    nb_batch_options o = {.size = 32};
    fine(nb_batches_new(&d, &o, &b, &why), &why);
    ck_assert_int_eq(epoch(b, first), 104);
    ck_assert(is_whole(first, 104, 100) && first[5] == 5 && first[32] == -32 && first[103] == -4);
    nb_batches_free(b);
    o.shuffle = true;
    fine(nb_batches_new(&d, &o, &b, &why), &why);
    epoch(b, first);
    epoch(b, second);
    ck_assert(is_whole(first, 104, 100) && is_whole(second, 104, 100));
    ck_assert(memcmp(first, second, 100 * sizeof *first));
    ck_assert_int_eq(nb_batches_state(b).epoch, 2);
    nb_batches_free(b);
    fine(nb_batches_new(&d, &o, &b, &why), &why);
    epoch(b, again);
    ck_assert_mem_eq(first, again, 104 * sizeof *first);
    nb_batches_free(b);
    o.drop_last = true;
    fine(nb_batches_new(&d, &o, &b, &why), &why);
    ck_assert_int_eq(epoch(b, again), 99);
    nb_batches_free(b);
    o.size = 101;
    said(nb_batches_new(&d, &o, &b, &why), NB_ERR_EMPTY, &why, "no whole batch of 101");
    d.rows = 0;
    said(nb_batches_new(&d, NULL, &b, &why), NB_ERR_EMPTY, &why, "is empty");
}
END_TEST

static nb_reader *reader_of(int64_t rows)
{
    nb_reader *r;
    const nb_dataset d = plain(rows, 3);
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_F64, NB_SHAPE(rows, 2), plain_x}, path("x"), &why),
         &why);
    fine(nb_npy_save(&(nb_file_entry){"", NB_T_I64, NB_SHAPE(rows), plain_label}, path("l"), &why),
         &why);
    fine(nb_npy_open(path("x"), path("l"), NULL, &r, &why), &why);
    (void)d;
    return r;
}

START_TEST(batches_of_a_stream)
{
    static double first[2 * MOST], second[2 * MOST];
    nb_reader *r = reader_of(3000);
    nb_batches *b;
    nb_batch_options o = {.size = 7};
    fine(nb_batches_stream(r, &o, &b, &why), &why);
    const int64_t n = epoch(b, first);
    ck_assert(is_whole(first, n, 3000) && first[6] == 6 && first[n - 1] == -4);
    nb_batches_free(b);
    o = (nb_batch_options){.size = 7, .shuffle = true, .buffer = 500, .seed = 2};
    fine(nb_batches_stream(r, &o, &b, &why), &why);
    epoch(b, first);
    epoch(b, second);
    ck_assert(is_whole(first, n, 3000) && is_whole(second, n, 3000));
    ck_assert(memcmp(first, second, 100 * sizeof *first));
    int64_t ahead = 0, place = 0;
    double moved = 0;
    for (int64_t i = 0; i < n; i++)
        if (first[i] >= 0) {
            ahead += first[i] - (double)place >= 500; /* no row is out before it is in the buffer */
            moved += fabs(first[i] - (double)place++) / 3000;
        }
    ck_assert(ahead == 0 && moved > 100);
    nb_batches_free(b);
    nb_reader_free(r);
    r = reader_of(0);
    fine(nb_batches_stream(r, &o, &b, &why), &why);
    const nb_dataset *d;
    said(nb_batches_next(b, &d, &why), NB_ERR_EMPTY, &why, "no rows");
    nb_batches_free(b);
    nb_reader_free(r);
}
END_TEST

/* After every batch of an epoch: what follows, two epochs of it, is the same from the state. */
static void resumes(nb_batches *b, nb_batches *other, int64_t batches)
{
    static double x[2 * MOST], y[2 * MOST];
    const nb_dataset *d;
    for (int64_t k = 0; k <= batches; k++) {
        const nb_batch_state begin = nb_batches_state(b);
        for (int64_t i = 0; i < k; i++)
            fine(nb_batches_next(b, &d, &why), &why);
        const nb_batch_state state = nb_batches_state(b);
        int64_t n = epoch(b, x);
        n += epoch(b, x + n);
        fine(nb_batches_restore(other, &state, &why), &why);
        int64_t m = epoch(other, y);
        m += epoch(other, y + m);
        ck_assert(n == m && !memcmp(x, y, (size_t)n * sizeof *x));
        const nb_batch_state s = nb_batches_state(b), t = nb_batches_state(other);
        ck_assert(!memcmp(&s, &t, sizeof s));
        fine(nb_batches_restore(b, &begin, &why), &why);
    }
    nb_batch_state s = nb_batches_state(b);
    s.batch = batches + 2;
    said(nb_batches_restore(b, &s, &why), NB_ERR_ARGUMENT, &why, "batch");
    s.batch = -1;
    said(nb_batches_restore(b, &s, &why), NB_ERR_ARGUMENT, &why, "not a state");
    s = (nb_batch_state){.batch = 1}; /* its random state would stay at 0 for ever */
    said(nb_batches_restore(b, &s, &why), NB_ERR_ARGUMENT, &why, "not a state");
}

START_TEST(positions_are_restored)
{
    nb_dataset d = plain(50, 3);
    nb_batches *b, *other;
    nb_batch_options o = {.size = 8, .shuffle = true, .seed = 3, .buffer = 20};
    fine(nb_batches_new(&d, &o, &b, &why), &why);
    o.seed = 4; /* the state brings its own */
    fine(nb_batches_new(&d, &o, &other, &why), &why);
    resumes(b, other, 7);
    nb_batches_free(b);
    nb_batches_free(other);
    nb_reader *r = reader_of(50), *s;
    fine(nb_npy_open(path("x"), path("l"), NULL, &s, &why), &why);
    fine(nb_batches_stream(r, &o, &b, &why), &why);
    fine(nb_batches_stream(s, &o, &other, &why), &why);
    resumes(b, other, 7);
    nb_batches_free(b);
    nb_batches_free(other);
    nb_reader_free(r);
    nb_reader_free(s);
}
END_TEST

/* Everything that allocates, on one allocator. */
static nb_code everything(const nb_allocator *a)
{
    nb_dataset *d = NULL, *rest = NULL, *part = NULL;
    nb_reader *r = NULL;
    nb_batches *b = NULL, *s = NULL;
    const nb_dataset *batch;
    int64_t fold[40];
    nb_batch_options o = {.shuffle = true, .buffer = 10};
    nb_code code = nb_make_digits(&(nb_make){.rows = 40, .allocator = a}, &d, &why);
    if (!code)
        code = nb_dataset_split(d, 0.25, true, 1, &rest, &part, &why);
    if (!code)
        code = nb_dataset_folds(d, 4, true, 1, fold, &why);
    if (!code)
        code = nb_batches_new(part, &o, &b, &why);
    if (!code)
        code = nb_batches_next(b, &batch, &why);
    if (!code)
        code = nb_npy_open(path("x"), path("l"), &(nb_idx_options){.allocator = a}, &r, &why);
    if (!code)
        code = nb_batches_stream(r, &o, &s, &why);
    if (!code)
        code = nb_batches_next(s, &batch, &why);
    nb_batches_free(s);
    nb_batches_free(b);
    nb_reader_free(r);
    nb_dataset_free(rest);
    nb_dataset_free(part);
    nb_dataset_free(d);
    return code;
}

START_TEST(out_of_memory)
{
    nb_reader_free(reader_of(50));
    bool done = false;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = k, .for_ever = true};
        const nb_allocator a = counting_allocator(&c);
        ck_assert_int_eq(everything(&a), c.refusals ? NB_ERR_MEMORY : NB_OK);
        ck_assert_uint_eq(c.blocks, 0);
        done = !c.refusals;
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("batches");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, batches_of_a_data_set);
    tcase_add_test(c, batches_of_a_stream);
    tcase_add_test(c, positions_are_restored);
    tcase_add_test(c, out_of_memory);
    return run_case("batches", c);
}
