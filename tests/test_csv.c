/*
 * Tables in text files: what a field is, what a column is, where an error is; schemas kept in files.
 */
#include "data/csv.h"

#include "counting.h"
#include "folder.h"

#include <nabla/data.h>

#include <math.h>

static nb_reason why;

static const double *numbers(const nb_dataset *d) { return d->x; }

/* The data set of a file with this text, by its own schema. */
static nb_dataset *load(const char *text, const nb_csv_options *o, nb_schema **s)
{
    nb_dataset *d;
    write_text("t", text);
    fine(nb_csv_scan(path("t"), o, s, &why), &why);
    fine(nb_csv_load(path("t"), *s, &d, &why), &why);
    ck_assert_int_eq(d->rows, nb_schema_rows(*s));
    return d;
}

static void refuses(const char *text, const nb_csv_options *o, nb_code code, const char *part)
{
    nb_schema *s;
    write_text("t", text);
    said(nb_csv_scan(path("t"), o, &s, &why), code, &why, part);
    ck_assert_ptr_null(s);
}

/* By a schema learned from another text. */
static void refuses_by(const char *learned, const char *text, const nb_csv_options *o, nb_code code,
                       const char *part)
{
    nb_schema *s;
    nb_dataset *d = load(learned, o, &s);
    nb_dataset_free(d);
    write_text("t", text);
    said(nb_csv_load(path("t"), s, &d, &why), code, &why, part);
    ck_assert_ptr_null(d);
    nb_schema_free(s);
}

START_TEST(values_of_fields)
{
    static const struct {
        const char *text;
        nbi_value kind;
        double value;
    } cases[] = {
        {"0", NBI_FINITE, 0},
        {"-0.5", NBI_FINITE, -0.5},
        {" +1e3\t", NBI_FINITE, 1000},
        {".5", NBI_FINITE, 0.5},
        {"5.", NBI_FINITE, 5},
        {"0.1", NBI_FINITE, 0.1},
        {"123456789012345678901234567890", NBI_FINITE, 123456789012345678901234567890.0},
        {"9007199254740993", NBI_FINITE, 9007199254740992.0},
        {"2.2250738585072014e-308", NBI_FINITE, 2.2250738585072014e-308},
        {"4.9e-324", NBI_FINITE, 4.9e-324},
        {"0.000000000000000000000000000000123456789012345678", NBI_FINITE,
         0.000000000000000000000000000000123456789012345678},
        {"1e400", NBI_INFINITE, 0},
        {"-inf", NBI_INFINITE, 0},
        {"Infinity", NBI_INFINITE, 0},
        {"", NBI_MISSING, 0},
        {"  ", NBI_MISSING, 0},
        {"na", NBI_MISSING, 0},
        {"N/A", NBI_MISSING, 0},
        {"-nan", NBI_MISSING, 0},
        {"null", NBI_MISSING, 0},
        {"?", NBI_MISSING, 0},
        {"0x10", NBI_TEXT, 0},
        {"1e", NBI_TEXT, 0},
        {"e5", NBI_TEXT, 0},
        {".", NBI_TEXT, 0},
        {"1 2", NBI_TEXT, 0},
        {"1,5", NBI_TEXT, 0},
        {"nano", NBI_TEXT, 0},
        {"--1", NBI_TEXT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double v = 77;
        const nbi_value kind = nbi_csv_value(cases[i].text, &v);
        ck_assert_msg(kind == cases[i].kind && (kind != NBI_FINITE || v == cases[i].value),
                      "\"%s\": %d %.17g", cases[i].text, (int)kind, v);
    }
}
END_TEST

/* 17 digits of random doubles come back exactly, by either way of conversion. */
START_TEST(numbers_are_rounded_correctly)
{
    nb_rng r = nb_rng_seed(5);
    int wrong = 0;
    for (int i = 0; i < 20000; i++) {
        const double x = ldexp(nb_rng_normal(&r), (int)nb_rng_below(&r, 120) - 60);
        char text[64];
        double v = 0;
        snprintf(text, sizeof text, i % 2 ? "%.17g" : "%.5g", x);
        wrong += nbi_csv_value(text, &v) != NBI_FINITE || v != strtod(text, NULL);
    }
    for (int i = 0; i < 5000; i++) { /* around where powers of ten cease to be exact */
        char text[64];
        double v = 0;
        snprintf(text, sizeof text, "%llue%d",
                 (unsigned long long)(nb_rng_bits(&r) >> (10 + i % 8)),
                 (int)nb_rng_below(&r, 54) - 27);
        wrong += nbi_csv_value(text, &v) != NBI_FINITE || v != strtod(text, NULL);
    }
    ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(a_table)
{
    nb_schema *s;
    nb_dataset *d = load("\xef\xbb\xbfsize,\"col\"\"our\",weight,class\r\n"
                         "1.5,red,-2,cat\r\n"
                         "\r\n"
                         "2,\"dark, blue\nor so\",3e1,dog\n"
                         "\"7\",red,0,cat",
                         NULL, &s);
    const double x[] = {1.5, 1, -2, 2, 0, 30, 7, 1, 0};
    ck_assert(d->rows == 3 && d->columns == 3 && d->classes == 2 && !d->targets && !d->y);
    ck_assert_mem_eq(numbers(d), x, sizeof x);
    ck_assert(d->label[0] == 0 && d->label[1] == 1 && d->label[2] == 0);
    ck_assert(d->levels[0] == 0 && d->levels[1] == 2 && d->levels[2] == 0);
    ck_assert_str_eq(nb_schema_name(s, 1), "col\"our");
    ck_assert_str_eq(nb_schema_level(s, 1, 0), "dark, blue\nor so");
    ck_assert_str_eq(nb_schema_class(s, 1), "dog");
    ck_assert_ptr_null(nb_schema_class(s, 2));
    ck_assert_ptr_null(nb_schema_level(s, 0, 0));
    fine(nb_dataset_check(d, &why), &why);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(numbers_as_labels)
{
    nb_schema *s;
    nb_dataset *d = load("1,2,0\n3,4,5\n", NULL, &s);
    ck_assert(d->columns == 2 && d->classes == 6 && d->label[1] == 5);
    ck_assert_ptr_null(nb_schema_class(s, 0));
    nb_dataset_free(d);
    nb_schema_free(s);
    const nb_csv_options o = {
        .target = NB_TARGET_NUMBER, .label = -3, .dtype = NB_F32, .separator = ';'};
    d = load("0.5;2;0\n-1;4;5\n", &o, &s);
    ck_assert(d->columns == 2 && d->classes == 0 && !d->label && d->targets == 1);
    ck_assert(((const float *)d->y)[1] == -1 && ((const float *)d->x)[3] == 5);
    nb_dataset_free(d);
    nb_schema_free(s);
    d = load("1,2\n", &(nb_csv_options){.target = NB_TARGET_NONE}, &s);
    ck_assert(d->columns == 2 && !d->label && !d->y && nb_schema_classes(s) == 0);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(kinds_and_headers)
{
    nb_schema *s;
    const nb_kind kind[] = {NB_KIND_CATEGORY, NB_KIND_SKIP, NB_KIND_NUMBER, NB_KIND_CATEGORY};
    nb_csv_options o = {.kind = kind, .kinds = 4, .header = NB_HEADER_YES};
    nb_dataset *d = load("1,2,3,4\n10,x,5,-1\n9,,6,1\n", &o, &s);
    ck_assert(d->rows == 2 && d->columns == 2 && d->classes == 2);
    const double x[] = {0, 5, 1, 6}; /* levels in order of bytes: "10" before "9" */
    ck_assert_mem_eq(numbers(d), x, sizeof x);
    ck_assert_str_eq(nb_schema_name(s, 1), "3");
    nb_dataset_free(d);
    nb_schema_free(s);
    o.kinds = 3;
    refuses("1,2,3,4\n", &o, NB_ERR_ARGUMENT, "3 kinds were given, it has 4 columns");
    d = load("a,b\nc,d\n", NULL, &s); /* no numbers below: no header */
    ck_assert(d->rows == 2);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(missing_values)
{
    nb_schema *s;
    const char *text = "a,b,c\n1,x,0\n,y,1\n4,NA,0\nnan,y,1\n";
    refuses(text, NULL, NB_ERR_FORMAT, "line 3, column 1 (a): a missing value");
    refuses("1,2,0\n3,NaN,1\n", NULL, NB_ERR_ANOMALY, "line 2, column 2: NaN in the data");
    refuses("1,2,0\n3,inf,1\n", NULL, NB_ERR_ANOMALY,
            "line 2, column 2: a number that is not finite");
    refuses("1,2,0\n3,1,\n", &(nb_csv_options){.missing = NB_MISSING_MEAN}, NB_ERR_FORMAT,
            "line 2, column 3: a missing value");
    nb_dataset *d = load(text, &(nb_csv_options){.missing = NB_MISSING_DROP}, &s);
    ck_assert(d->rows == 1 && numbers(d)[0] == 1);
    nb_dataset_free(d);
    nb_schema_free(s);
    d = load(text, &(nb_csv_options){.missing = NB_MISSING_MEAN}, &s);
    const double mean[] = {1, 0, 2.5, 1, 4, 1, 2.5, 1};
    ck_assert_mem_eq(numbers(d), mean, sizeof mean);
    nb_dataset_free(d);
    nb_schema_free(s);
    d = load("z,0\na,1\nNA,0\n", &(nb_csv_options){.missing = NB_MISSING_MEAN}, &s);
    ck_assert(numbers(d)[0] == 1 && numbers(d)[2] == 0); /* of a tie, the first in order */
    nb_dataset_free(d);
    nb_schema_free(s);
    d = load(text, &(nb_csv_options){.missing = NB_MISSING_VALUE, .fill = -9}, &s);
    ck_assert(numbers(d)[2] == -9 && numbers(d)[6] == -9 && numbers(d)[5] == 1);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(errors_say_where)
{
    nb_schema *s;
    refuses("1,2\n3,4\n5\n", NULL, NB_ERR_FORMAT, "line 3 has 1 fields, the first has 2");
    refuses("1,\"a\nb\",0\n1,2,3,4\n", NULL, NB_ERR_FORMAT, "line 3 has 4 fields");
    refuses("1,2\n\"3,4\n5,6\n", NULL, NB_ERR_FORMAT,
            "line 2, field 1: a quote that is never closed");
    refuses("1,\"2\"x\n", NULL, NB_ERR_FORMAT, "something follows the closing quote");
    refuses("1,2\"\n", NULL, NB_ERR_FORMAT, "a quote within a field");
    refuses("1,0\n1.2x,1\n", NULL, NB_ERR_FORMAT,
            "line 2, column 1: a number was expected, found \"1.2x\"");
    refuses("1,0\n1,1.5\n", NULL, NB_ERR_INDEX, "line 2, column 2: a class is a whole number");
    refuses("1,-1\n", NULL, NB_ERR_INDEX, "declare a category");
    refuses("1,3\n", &(nb_csv_options){.classes = 3}, NB_ERR_INDEX, "a label out of range: \"3\"");
    refuses("", NULL, NB_ERR_EMPTY, "no rows");
    refuses("\n\n", NULL, NB_ERR_EMPTY, "no rows");
    refuses("a,b\n", &(nb_csv_options){.header = NB_HEADER_YES}, NB_ERR_EMPTY, "no rows");
    refuses("1,2\n", &(nb_csv_options){.label = 3}, NB_ERR_ARGUMENT, "label column 3");
    refuses("1\n2\n", NULL, NB_ERR_EMPTY, "no column is left for features");
    refuses("1,2\n",
            &(nb_csv_options){.kinds = 2, .kind = (nb_kind[]){NB_KIND_SKIP, NB_KIND_GUESS}},
            NB_ERR_EMPTY, "no column is left for features");
    refuses("\xff,2\n", NULL, NB_ERR_FORMAT, "not UTF-8");
    write_bytes("t", "1,\0", 3);
    said(nb_csv_scan(path("t"), NULL, &s, &why), NB_ERR_FORMAT, &why, "a NUL byte");
    said(nb_csv_scan(path("u"), NULL, &s, &why), NB_ERR_FILE, &why, "cannot open");
    said(nb_csv_scan(path("t"), &(nb_csv_options){.separator = '"'}, &s, &why), NB_ERR_ARGUMENT,
         &why, "cannot separate");
}
END_TEST

START_TEST(other_files)
{
    const char *learned = "a,b,class\n1,x,p\n2,y,q\n";
    refuses_by(learned, "a,b,class\n1,z,p\n", NULL, NB_ERR_INDEX,
               "line 2, column 2 (b): an unknown category \"z\"");
    refuses_by(learned, "a,b,class\n1,x,r\n", NULL, NB_ERR_INDEX, "an unknown class \"r\"");
    refuses_by(learned, "a,c,class\n1,x,p\n", NULL, NB_ERR_FORMAT,
               "column 2 (b): the header has another name: \"c\"");
    refuses_by(learned, "a\n1\n", NULL, NB_ERR_FORMAT, "1 fields, the schema has 3");
    refuses_by(learned, "a,b,class\n1,x\n", NULL, NB_ERR_FORMAT, "line 2 has 2 fields, not 3");
    refuses_by(learned, "a,b,class\n", NULL, NB_ERR_EMPTY, "no rows");
    refuses_by("1,0\n2,1\n", "1,2\n", NULL, NB_ERR_INDEX, "a label out of range: \"2\"");
    nb_schema *s;
    nb_dataset *d = load("class,a,b\np,1,x\nq,2,y\n", &(nb_csv_options){.label = 1}, &s);
    nb_dataset_free(d);
    write_text("t", "a,b\n5,y\n");
    fine(nb_csv_load(path("t"), s, &d, &why), &why);
    ck_assert(d->rows == 1 && !d->label && numbers(d)[0] == 5 && numbers(d)[1] == 1);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(schema_in_a_file)
{
    nb_schema *s, *t;
    nb_dataset *d, *e;
    nb_file *f = nb_file_new(NULL), *g;
    d = load("\"a,\"\"\n\",b,c\n0.1,\"x\n\",no\n,y,yes\n0.2,y,no\n",
             &(nb_csv_options){.missing = NB_MISSING_MEAN}, &s);
    fine(nb_schema_put(s, "in.", f, &why), &why);
    fine(nb_file_save(f, path("s"), &why), &why);
    fine(nb_file_load(path("s"), NULL, &g, &why), &why);
    fine(nb_schema_get(g, "in.", NULL, &t, &why), &why);
    fine(nb_csv_load(path("t"), t, &e, &why), &why);
    ck_assert(e->rows == 3 && e->classes == 2 && e->columns == 2);
    ck_assert_mem_eq(d->x, e->x, 6 * sizeof(double));
    ck_assert_mem_eq(d->label, e->label, 3 * sizeof(int64_t));
    ck_assert_str_eq(nb_schema_name(t, 0), "a,\"\n");
    ck_assert_str_eq(nb_schema_class(t, 1), "yes");
    nb_schema_free(t);
    said(nb_schema_get(g, "", NULL, &t, &why), NB_ERR_FORMAT, &why, "no \"schema\"");
    ck_assert_ptr_null(t);
    char text[1000];
    strcpy(text, nb_file_text(g, "in.schema"));
    int accepted = 0;
    for (size_t n = strlen(text); n-- > 0;) { /* cut anywhere */
        nb_file *h = nb_file_new(NULL);
        text[n] = 0;
        nb_file_put_text(h, "schema", text);
        accepted += !nb_schema_get(h, NULL, NULL, &t, &why);
        nb_schema_free(t);
        nb_file_free(h);
    }
    ck_assert_int_eq(accepted, 0);
    nb_schema_free(s);
    nb_dataset_free(d);
    nb_dataset_free(e);
    nb_file_free(f);
    nb_file_free(g);
}
END_TEST

START_TEST(block_by_block)
{
    nb_schema *s;
    nb_reader *r;
    const nb_dataset *b;
    nb_dataset *d;
    static char text[60000];
    char *p = text + sprintf(text, "x,y\n");
    for (int i = 0; i < 5000; i++)
        p += sprintf(p, "%d,%d\n", i, i % 3);
    d = load(text, NULL, &s);
    fine(nb_csv_open(path("t"), s, &r, &why), &why);
    for (int pass = 0; pass < 2; pass++, nb_reader_rewind(r)) {
        int64_t rows = 0, wrong = 0;
        do {
            fine(nb_reader_next(r, 700, &b, &why), &why);
            for (int64_t i = 0; i < b->rows; i++, rows++)
                wrong += numbers(b)[i] != (double)rows || b->label[i] != rows % 3;
        } while (b->rows);
        ck_assert(rows == 5000 && !wrong && d->rows == 5000 && numbers(d)[4999] == 4999);
    }
    said(nb_reader_next(r, 0, &b, &why), NB_ERR_ARGUMENT, &why, "no rows asked for");
    nb_reader_free(r);
    nb_dataset_free(d);
    nb_schema_free(s);
}
END_TEST

START_TEST(out_of_memory)
{
    bool done = false;
    write_text("t", "a,b,c\n1,x,p\n2,y,q\n3,x,p\n");
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = k, .for_ever = true};
        const nb_allocator a = counting_allocator(&c);
        nb_schema *s, *t = NULL;
        nb_dataset *d = NULL;
        nb_file *f = nb_file_new(&a);
        nb_code code = f ? nb_csv_scan(path("t"), &(nb_csv_options){.allocator = &a}, &s, &why)
                         : NB_ERR_MEMORY;
        if (f && !code) {
            code = nb_csv_load(path("t"), s, &d, &why);
            if (!code)
                code = nb_schema_put(s, "", f, &why);
            if (!code)
                code = nb_schema_get(f, "", &a, &t, &why);
            nb_schema_free(s);
        }
        nb_schema_free(t);
        nb_dataset_free(d);
        nb_file_free(f);
        ck_assert_int_eq(code, c.refusals ? NB_ERR_MEMORY : NB_OK);
        ck_assert_uint_eq(c.blocks, 0);
        done = !c.refusals;
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("csv");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, values_of_fields);
    tcase_add_test(c, numbers_are_rounded_correctly);
    tcase_add_test(c, a_table);
    tcase_add_test(c, numbers_as_labels);
    tcase_add_test(c, kinds_and_headers);
    tcase_add_test(c, missing_values);
    tcase_add_test(c, errors_say_where);
    tcase_add_test(c, other_files);
    tcase_add_test(c, schema_in_a_file);
    tcase_add_test(c, block_by_block);
    tcase_add_test(c, out_of_memory);
    return run_case("csv", c);
}
