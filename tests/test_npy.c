/*
 * npy and npz: bytes assembled by hand after NumPy's description of the format, both orders of axes and of
 * bytes, and every truncation and damage refused.
 */
#include "counting.h"
#include "folder.h"

#include <math.h>

static nb_reason why;

/* An npy file of version 1 with this dictionary; its length. */
static size_t assemble(unsigned char *to, const char *dictionary, const void *data, size_t size)
{
    size_t n = strlen(dictionary) + 1;
    while ((10 + n) % 64)
        n++;
    memcpy(to, "\x93NUMPY\1\0", 8);
    to[8] = (unsigned char)(n & 255);
    to[9] = (unsigned char)(n >> 8);
    memset(to + 10, ' ', n);
    memcpy(to + 10, dictionary, strlen(dictionary));
    to[10 + n - 1] = '\n';
    memcpy(to + 10 + n, data, size);
    return 10 + n + size;
}

static void write_npy(const char *name, const char *dictionary, const void *data, size_t size)
{
    static unsigned char all[2000];
    write_bytes(name, all, assemble(all, dictionary, data, size));
}

START_TEST(saved_bytes)
{
    const float x[6] = {1, 2, 3, 4, 5, 6};
    unsigned char expected[400], got[400];
    const size_t n = assemble(
        expected, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", x, sizeof x);
    nb_file_entry e = {NULL, NB_T_F32, NB_SHAPE(2, 3), (void *)x};
    fine(nb_npy_save(&e, path("a"), &why), &why);
    ck_assert_uint_eq(read_bytes("a", got, sizeof got), n);
    ck_assert_mem_eq(got, expected, n);
    e = (nb_file_entry){NULL, NB_T_U8, NB_SHAPE(3), "abc"};
    const size_t m =
        assemble(expected, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc", 3);
    fine(nb_npy_save(&e, path("a"), &why), &why);
    ck_assert_uint_eq(read_bytes("a", got, sizeof got), m);
    ck_assert_mem_eq(got, expected, m);
    e.type = NB_T_BF16;
    said(nb_npy_save(&e, path("a"), &why), NB_ERR_ARGUMENT, &why, "no type BF16");
}
END_TEST

START_TEST(every_type_and_rank)
{
    static char data[8 * 24];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    const nb_shape shapes[] = {NB_POINT, NB_SHAPE(24), NB_SHAPE(0), NB_SHAPE(2, 3, 4),
                               NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 24)};
    for (unsigned t = 0; t < NB_TYPES; t++)
        for (size_t s = 0; s < 5 && t != NB_T_BF16; s++) {
            nb_file *f;
            const nb_file_entry e = {"x", (nb_type)t, shapes[s], data};
            fine(nb_npy_save(&e, path("a"), &why), &why);
            fine(nb_npy_load(path("a"), NULL, &f, &why), &why);
            const nb_file_entry *g = nb_file_at(f, 0);
            ck_assert(g->type == e.type && nb_shape_equal(g->shape, e.shape) && !*g->name);
            ck_assert(
                !memcmp(g->data, data, (size_t)nb_shape_size(e.shape) * nb_type_size(e.type)));
            nb_file_free(f);
        }
}
END_TEST

START_TEST(other_orders)
{
    /* element (i, j, k) of [2 3 2] is 100 i + 10 j + k; the first axis varies fastest */
    int16_t fortran[12], expected[12];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++) {
                fortran[i + 2 * (j + 3 * k)] = (int16_t)(100 * i + 10 * j + k);
                expected[(i * 3 + j) * 2 + k] = (int16_t)(100 * i + 10 * j + k);
            }
    nb_file *f;
    write_npy("a", "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3, 2), }", fortran, 24);
    fine(nb_npy_load(path("a"), NULL, &f, &why), &why);
    ck_assert_mem_eq(nb_file_at(f, 0)->data, expected, 24);
    nb_file_free(f);
    write_npy("a", "{\"x\": 1}", "", 0);
    said(nb_npy_load(path("a"), NULL, &f, &why), NB_ERR_FORMAT, &why, "unknown key");
    write_npy("a", "{'shape':(2,),'fortran_order':False,'descr':'>f8'}", /* 1.5, -2 */
              "\x3f\xf8\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 16);
    fine(nb_npy_load(path("a"), NULL, &f, &why), &why);
    const double *x = nb_file_at(f, 0)->data;
    ck_assert(x[0] == 1.5 && x[1] == -2);
    nb_file_free(f);
}
END_TEST

static const struct {
    const char *dictionary, *part;
} broken[] = {
    {"", "not a dictionary"},
    {"{'descr': '<f4', 'fortran_order': False, }", "each once"},
    {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "each once"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "not supported"},
    {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "not supported"},
    {"{'descr': '<U8', 'fortran_order': False, 'shape': (1,), }", "not supported"},
    {"{'descr': '<f44', 'fortran_order': False, 'shape': (1,), }", "not supported"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "structures"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", "truth value"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': 1, }", "not a tuple"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", "not a tuple"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "not made of numbers"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }",
     "too many"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "overflows"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "overflows"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
     "truncated: 4 bytes of data, not 8"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (), } x", "something follows"},
    {"{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", "something follows: 4"},
};

START_TEST(broken_headers)
{
    nb_file *f;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        write_npy("a", broken[i].dictionary, "abcd", 4);
        said(nb_npy_load(path("a"), NULL, &f, &why), NB_ERR_FORMAT, &why, broken[i].part);
        ck_assert_ptr_null(f);
    }
    write_text("a", "something else entirely");
    said(nb_npy_load(path("a"), NULL, &f, &why), NB_ERR_FORMAT, &why, "not an npy");
    write_bytes("a", "\x93NUMPY\1\0\xff\xff{}", 12);
    said(nb_npy_load(path("a"), NULL, &f, &why), NB_ERR_FORMAT, &why, "truncated");
    write_bytes("a", "\x93NUMPY\4\0\2\0{}", 12);
    said(nb_npy_load(path("a"), NULL, &f, &why), NB_ERR_FORMAT, &why, "a version");
}
END_TEST

/* ---- archives -------------------------------------------------------------------------------- */

static nb_file *two_arrays(void)
{
    static double a[2] = {1, 2};
    static int32_t b[3] = {3, 4, 5};
    nb_file *f = nb_file_new(NULL);
    nb_file_put(f, &(nb_file_entry){"a", NB_T_F64, NB_SHAPE(2), a});
    nb_file_put(f, &(nb_file_entry){"dir/b", NB_T_I32, NB_SHAPE(3, 1), b});
    return f;
}

START_TEST(archive_there_and_back)
{
    nb_file *f = two_arrays(), *g;
    fine(nb_npz_save(f, path("z"), &why), &why);
    fine(nb_npz_load(path("z"), NULL, &g, &why), &why);
    ck_assert_uint_eq(nb_file_count(g), 2);
    const nb_file_entry *e = nb_file_find(g, "dir/b");
    ck_assert_ptr_nonnull(e);
    ck_assert(e->type == NB_T_I32 && nb_shape_equal(e->shape, NB_SHAPE(3, 1)));
    ck_assert_int_eq(((int32_t *)e->data)[2], 5);
    ck_assert(((double *)nb_file_find(g, "a")->data)[1] == 2);
    nb_file_free(f);
    nb_file_free(g);
    f = nb_file_new(NULL);
    fine(nb_npz_save(f, path("z"), &why), &why);
    fine(nb_npz_load(path("z"), NULL, &g, &why), &why);
    ck_assert_uint_eq(nb_file_count(g), 0);
    nb_file_free(f);
    nb_file_free(g);
}
END_TEST

START_TEST(damaged_archives)
{
    static unsigned char all[2000];
    nb_file *f = two_arrays(), *g;
    fine(nb_npz_save(f, path("z"), &why), &why);
    nb_file_free(f);
    const size_t n = read_bytes("z", all, sizeof all);
    int loaded = 0;
    for (size_t i = 0; i < n; i++) { /* at every length */
        write_bytes("z", all, i);
        loaded += !nb_npz_load(path("z"), NULL, &g, &why);
        nb_file_free(g);
    }
    ck_assert_int_eq(loaded, 0);
    /* the first array's contents, from its npy header on, are summed */
    const size_t head = 30 + strlen("a.npy");
    for (size_t i = head; i < head + 128 + 16; i++) {
        all[i] ^= 1;
        write_bytes("z", all, n);
        loaded += !nb_npz_load(path("z"), NULL, &g, &why);
        nb_file_free(g);
        all[i] ^= 1;
    }
    ck_assert_int_eq(loaded, 0);
    all[head + 130] ^= 1;
    write_bytes("z", all, n);
    said(nb_npz_load(path("z"), NULL, &g, &why), NB_ERR_FORMAT, &why, "\"a\" is damaged");
    all[head + 130] ^= 1;
    unsigned char *central = NULL; /* the second entry's header becomes that of the first again */
    for (size_t i = n - 1; i > 0 && !central; i--)
        if (!memcmp(all + i, "PK\1\2", 4))
            central = all + i;
    central[10] = 8;
    write_bytes("z", all, n);
    said(nb_npz_load(path("z"), NULL, &g, &why), NB_ERR_FORMAT, &why, "is compressed");
    central[10] = 0;
    memset(central + 42, 0, 4);
    write_bytes("z", all, n);
    ck_assert_int_eq(nb_npz_load(path("z"), NULL, &g, &why), NB_ERR_FORMAT);
    write_text("z", "no archive at all, but long enough");
    said(nb_npz_load(path("z"), NULL, &g, &why), NB_ERR_FORMAT, &why, "not a zip");
}
END_TEST

/* One member, which the directory tells of twice: contents would be longer than the file. */
START_TEST(members_that_overlap)
{
    static unsigned char all[1000];
    static double x[20];
    enum { CENTRAL = 46 + 5, END = 22 };
    nb_file *f = nb_file_new(NULL);
    nb_file_put(f, &(nb_file_entry){"a", NB_T_F64, NB_SHAPE(20), x});
    fine(nb_npz_save(f, path("z"), &why), &why);
    nb_file_free(f);
    const size_t n = read_bytes("z", all, sizeof all), directory = n - END - CENTRAL;
    ck_assert(n > END + CENTRAL && n < sizeof all - CENTRAL);
    memmove(all + n + CENTRAL - END, all + n - END, END);
    memcpy(all + n - END, all + directory, CENTRAL);
    all[n - END + 46] = 'b';
    unsigned char *end = all + n + CENTRAL - END;
    end[8] = end[10] = 2;
    end[12] = 2 * CENTRAL;
    write_bytes("z", all, n + CENTRAL);
    said(nb_npz_load(path("z"), NULL, &f, &why), NB_ERR_FORMAT, &why, "members overlap");
}
END_TEST

START_TEST(out_of_memory)
{
    bool done = false;
    const uint8_t x[6] = {1, 2, 3, 4, 5, 6};
    write_npy("a", "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", x, 6);
    nb_file *f = two_arrays();
    fine(nb_npz_save(f, path("z"), &why), &why);
    nb_file_free(f);
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = k, .for_ever = true};
        const nb_allocator a = counting_allocator(&c);
        nb_code code = nb_npy_load(path("a"), &a, &f, &why);
        nb_file_free(f);
        if (!code)
            code = nb_npz_load(path("z"), &a, &f, &why);
        if (!code)
            code = nb_npz_save(f, path("y"), &why);
        nb_file_free(f);
        ck_assert_int_eq(code, c.refusals ? NB_ERR_MEMORY : NB_OK);
        ck_assert_uint_eq(c.blocks, 0);
        done = !c.refusals;
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("npy");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, saved_bytes);
    tcase_add_test(c, every_type_and_rank);
    tcase_add_test(c, other_orders);
    tcase_add_test(c, broken_headers);
    tcase_add_test(c, archive_there_and_back);
    tcase_add_test(c, damaged_archives);
    tcase_add_test(c, members_that_overlap);
    tcase_add_test(c, out_of_memory);
    return run_case("npy", c);
}
