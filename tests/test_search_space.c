/*
 * Spaces of hyperparameters: the points of grids, and those of chance held to the distributions that they
 * are said to have, by bounds that chance exceeds once in a million; what is refused; and the tables.
 */
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

static nb_code free_lunch(void *context, const nb_trial *t, double *score, nb_reason *why)
{
    (void)context, (void)t, (void)why;
    *score = 0;
    return NB_OK;
}

/* ---- points ---------------------------------------------------------------------------------- */

START_TEST(grid)
{
    const nb_dimension space[] = {
        {.name = "log", .scale = NB_SCALE_LOG, .low = 1e-4, .high = 1e-1, .points = 4},
        {.name = "linear", .low = -1, .high = 1, .points = 5},
        {.name = "choice", .choices = 2, .choice = (const double[]){3, 1}},
        {.name = "all", .scale = NB_SCALE_INTEGER, .low = -1, .high = 1},
        {.name = "integer", .scale = NB_SCALE_INTEGER, .low = 2, .high = 8, .points = 4},
        {.name = "doubling", .scale = NB_SCALE_LOG_INTEGER, .low = 1, .high = 16, .points = 5}};
    const int64_t sizes[] = {4, 5, 2, 3, 4, 5};
    const double value[][5] = {
        {1e-4, 1e-3, 1e-2, 1e-1}, {-1, -0.5, 0, 0.5, 1}, {3, 1}, {-1, 0, 1}, {2, 4, 6, 8},
        {1, 2, 4, 8, 16}};
    const nb_search_spec spec = {
        .kind = NB_SEARCH_GRID, .dimensions = 6, .dimension = space, .objective = free_lunch};
    nb_search_result r;
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
    ck_assert_int_eq(r.trials, 4 * 5 * 2 * 3 * 4 * 5);
    int wrong = 0;
    int64_t place[6] = {0};
    for (int64_t i = 0; i < r.trials; i++) {
        for (int k = 0; k < 6; k++) {
            const double is = r.row[i].value[k], expected = value[k][place[k]];
            const bool inner = k == 0 && place[0] % 3 != 0; /* through exp and log */
            wrong += !(fabs(is - expected) <= (inner ? 1e-14 * expected : 0));
        }
        wrong += r.row[i].number != i || r.order[i] != i;
        for (int k = 5; k >= 0 && ++place[k] == sizes[k]; k--)
            place[k] = 0;
    }
    ck_assert_int_eq(wrong, 0);
    nb_search_result_free(&r);
    nb_search_result_free(&r);
}
END_TEST

enum { DRAWS = 20000 };

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* By the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart the greatest distance between an empirical
 * distribution of n draws and the true one exceeds e with probability 2 exp(-2 n e^2) at most: 1e-6 for
 * this e. Sorts u. */
static void is_uniform(double *u)
{
    const double e = sqrt(log(2e6) / (2 * DRAWS));
    double most = 0;
    qsort(u, DRAWS, sizeof *u, ascending);
    for (int i = 0; i < DRAWS; i++)
        most = fmax(most, fmax(u[i] - (double)i / DRAWS, (double)(i + 1) / DRAWS - u[i]));
    ck_assert_msg(u[0] >= 0 && u[DRAWS - 1] <= 1 && most <= e, "%g, may be %g", most, e);
}

/* Of a value with probability p. */
static void is_frequency(double count, double p)
{
    const double expected = DRAWS * p, sigma = sqrt(DRAWS * p * (1 - p));
    ck_assert_msg(fabs(count - expected) <= 5 * sigma, "%g, expected %g +- %g", count, expected,
                  sigma);
}

static nb_search_result drawn(int64_t trials, uint64_t seed)
{
    const nb_dimension space[] = {
        {.name = "log", .scale = NB_SCALE_LOG, .low = 1e-5, .high = 10},
        {.name = "linear", .low = -3, .high = 5},
        {.name = "integer", .scale = NB_SCALE_INTEGER, .low = -3, .high = 3},
        {.name = "log integer", .scale = NB_SCALE_LOG_INTEGER, .low = 1, .high = 8},
        {.name = "choice", .choices = 3, .choice = (const double[]){2, 0, 1}}};
    const nb_search_spec spec = {.dimensions = 5,
                                 .dimension = space,
                                 .trials = trials,
                                 .seed = seed,
                                 .objective = free_lunch};
    nb_search_result r;
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
    return r;
}

START_TEST(ranges)
{
    static double u[3][DRAWS];
    nb_search_result r = drawn(DRAWS, 42);
    double product = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double *v = r.row[i].value;
        u[0][i] = log(v[0] / 1e-5) / log(1e6);
        u[1][i] = (v[1] + 3) / 8;
        u[2][i] = (double)r.row[i].seed / 0x1p64;
        product += (u[0][i] - 0.5) * (u[1][i] - 0.5) * 12; /* of mean 0 and variance 1 */
    }
    ck_assert(fabs(product) <= 5 * sqrt(DRAWS));
    for (int k = 0; k < 3; k++)
        is_uniform(u[k]);
    nb_search_result_free(&r);
}
END_TEST

START_TEST(whole_numbers)
{
    nb_search_result r = drawn(DRAWS, 43);
    double count[3][9] = {{0}};
    int out = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double *v = &r.row[i].value[2];
        if (v[0] != rint(v[0]) || fabs(v[0]) > 3 || v[1] != rint(v[1]) ||
            !(v[1] >= 1 && v[1] <= 8) || (v[2] != 0 && v[2] != 1 && v[2] != 2)) {
            out++;
            continue;
        }
        count[0][(int)v[0] + 3]++;
        count[1][(int)v[1]]++;
        count[2][(int)v[2]]++;
    }
    ck_assert_int_eq(out, 0);
    for (int k = 0; k < 7; k++)
        is_frequency(count[0][k], 1.0 / 7);
    for (int k = 1; k <= 8; k++)
        is_frequency(count[1][k], log((k + 0.5) / (k - 0.5)) / log(17));
    for (int k = 0; k < 3; k++)
        is_frequency(count[2][k], 1.0 / 3);
    nb_search_result_free(&r);
}
END_TEST

START_TEST(seeds)
{
    nb_search_result many = drawn(20, 1), few = drawn(10, 1), other = drawn(10, 2);
    for (int i = 0; i < 10; i++) {
        ck_assert(few.row[i].seed == many.row[i].seed && other.row[i].seed != few.row[i].seed);
        ck_assert(!memcmp(few.row[i].value, many.row[i].value, 5 * sizeof(double)));
        ck_assert(other.row[i].value[0] != few.row[i].value[0]);
    }
    nb_search_result_free(&many);
    nb_search_result_free(&few);
    nb_search_result_free(&other);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static const nb_dimension fine = {.name = "x", .high = 1, .points = 2};

static void refuses(nb_search_spec spec, nb_code expected, const char *word)
{
    nb_search_result r = {.trials = 7};
    nb_reason why = {""};
    const nb_code code = nb_search(&spec, &r, &why);
    ck_assert_msg(code == expected && strstr(why.text, word), "%s: %s: %s", word,
                  nb_code_name(code), why.text);
    ck_assert(r.trials == 0 && !r.row && r.best == -1);
    ck_assert_int_eq(nb_search(&spec, &r, NULL), expected);
}

START_TEST(numbers_refused)
{
    const struct {
        const char *word;
        nb_search_spec spec;
    } c[] = {{"objective", {.trials = 1}},
             {"kind 2", {.kind = NB_SEARCH_KINDS, .trials = 1}},
             {"0 trials", {.trials = 0}},
             {"1000001 trials", {.trials = NB_SEARCH_TRIALS + 1}},
             {"7 was given", {.kind = NB_SEARCH_GRID, .trials = 7}},
             {"-2 threads", {.trials = 1, .threads = -2}},
             {"eta is 1", {.trials = 1, .eta = 1}},
             {"from -1", {.trials = 1, .budget = -1}},
             {"from 5 to 4", {.trials = 1, .budget = 5, .most = 4}},
             {"to 9223372036855", {.trials = 1, .most = 9223372036855}}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        nb_search_spec spec = c[k].spec;
        spec.dimensions = 1;
        spec.dimension = &fine;
        spec.objective = k ? free_lunch : NULL;
        refuses(spec, NB_ERR_ARGUMENT, c[k].word);
    }
    nb_search_result r;
    ck_assert_int_eq(nb_search(NULL, &r, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_search(&c[0].spec, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_str_eq(nb_scale_name(NB_SCALE_COUNT), "");
    ck_assert_str_eq(nb_trial_status_name(NB_TRIAL_STATUSES), "");
}
END_TEST

START_TEST(dimensions_refused)
{
    const char *const names[] = {"one", NULL};
    const double numbers[] = {1, (double)NAN};
    const struct {
        const char *word;
        nb_dimension d;
    } c[] = {{"0 has no name", {.high = 1}},
             {"x: low 1 ", {.name = "x", .low = 1, .high = 1}},
             {"x: low nan", {.name = "x", .low = (double)NAN, .high = 1}},
             {"high inf", {.name = "x", .high = (double)INFINITY}},
             {"log from 0", {.name = "x", .scale = NB_SCALE_LOG, .high = 1}},
             {"not whole", {.name = "x", .scale = NB_SCALE_INTEGER, .high = 1.5}},
             {"not whole", {.name = "x", .scale = NB_SCALE_INTEGER, .high = 1e17}},
             {"scale 4", {.name = "x", .scale = NB_SCALE_COUNT, .high = 1}},
             {"-1 choices", {.name = "x", .choices = -1}},
             {"choice 1 is nan", {.name = "x", .choices = 2, .choice = numbers}},
             {"choice 1 has no", {.name = "x", .choices = 2, .choice_name = names}},
             {"grid of 0", {.name = "x", .high = 1}},
             {"x: 9 points from 1 to 9 on a log integer scale: 1 is there twice",
              {.name = "x", .scale = NB_SCALE_LOG_INTEGER, .low = 1, .high = 9, .points = 9}}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++)
        refuses((nb_search_spec){.kind = NB_SEARCH_GRID,
                                 .dimensions = 1,
                                 .dimension = &c[k].d,
                                 .objective = free_lunch},
                k == 4 ? NB_ERR_DOMAIN : NB_ERR_ARGUMENT, c[k].word);
}
END_TEST

START_TEST(spaces_refused)
{
    nb_search_spec spec = {.trials = 1, .dimension = &fine, .objective = free_lunch};
    refuses(spec, NB_ERR_ARGUMENT, "space of 0");
    spec.dimensions = NB_SEARCH_DIMENSIONS + 1;
    refuses(spec, NB_ERR_ARGUMENT, "space of 65");
    spec.dimensions = 2;
    spec.dimension = NULL;
    refuses(spec, NB_ERR_ARGUMENT, "space of 0");
    spec.dimension = (const nb_dimension[]){{.name = "x", .high = 1}, {.name = "x", .high = 2}};
    refuses(spec, NB_ERR_ARGUMENT, "0 and 1 are both called \"x\"");
    spec.kind = NB_SEARCH_GRID;
    spec.trials = 0;
    spec.dimension = (const nb_dimension[]){{.name = "a", .high = 1, .points = 1000},
                                            {.name = "b", .high = 1, .points = 1001}};
    refuses(spec, NB_ERR_LIMIT, "more than 1000000");
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

static nb_code by_number(void *context, const nb_trial *t, double *score, nb_reason *why)
{
    (void)context, (void)why;
    *score = t->number == 1 ? (double)NAN : t->budget > 1 ? 0.1 : 4 - 1.5 * (double)t->number;
    return NB_OK;
}

/* Holds what was written to f, which is closed, to the text. */
static void wrote(FILE *f, const char *expected)
{
    char text[2000];
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    ck_assert_str_eq(text, expected);
}

START_TEST(text)
{
    const nb_dimension space[] = {
        {.name = "a \"b\"", .choices = 2, .choice_name = (const char *const[]){"x,y", "z"}},
        {.name = "rate", .choices = 2, .choice = (const double[]){0.1, 0.1 + 0.2}}};
    const nb_search_spec spec = {.kind = NB_SEARCH_GRID,
                                 .dimensions = 2,
                                 .dimension = space,
                                 .most = 3,
                                 .objective = by_number,
                                 .log = tmpfile()};
    nb_search_result r;
    char csv[500];
    FILE *f = tmpfile(), *table = tmpfile();
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
    wrote(spec.log,
          "rung 1: 4 trials to budget 1, 3 with a finite score, the best trial 3 with -0.5,"
          " 1 go on\n"
          "rung 2: 1 trials to budget 3, 1 with a finite score, the best trial 3 with 0.1\n");
    snprintf(csv, sizeof csv,
             "trial,seed,\"a \"\"b\"\"\",rate,rung,budget,score,status\n"
             "0,%llu,\"x,y\",0.1,1,1,4,dropped\n"
             "1,%llu,\"x,y\",0.30000000000000004,1,1,,bad\n"
             "2,%llu,z,0.1,1,1,1,dropped\n"
             "3,%llu,z,0.30000000000000004,2,3,0.1,through\n",
             (unsigned long long)r.row[0].seed, (unsigned long long)r.row[1].seed,
             (unsigned long long)r.row[2].seed, (unsigned long long)r.row[3].seed);
    ck_assert_int_eq(nb_search_csv(f, &spec, &r), NB_OK);
    wrote(f, csv);
    ck_assert_int_eq(nb_search_print(table, &spec, &r), NB_OK);
    wrote(table, "trial  a \"b\"  rate  rung  budget       score  status\n"
                 "    3      z   0.3     2       3         0.1  through\n"
                 "    2      z   0.1     1       1           1  dropped\n"
                 "    0    x,y   0.1     1       1           4  dropped\n"
                 "    1    x,y   0.3     1       1           -  bad\n");
    f = fopen("/dev/full", "w");
    if (f) {
        setvbuf(f, NULL, _IONBF, 0);
        ck_assert_int_eq(nb_search_print(f, &spec, &r), NB_ERR_CALLBACK);
        ck_assert_int_eq(nb_search_csv(f, &spec, &r), NB_ERR_CALLBACK);
        fclose(f);
    }
    ck_assert_int_eq(nb_search_print(NULL, &spec, &r), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_search_csv(stdout, NULL, &r), NB_ERR_ARGUMENT);
    nb_search_result_free(&r);
    ck_assert_int_eq(nb_search_print(stdout, &spec, &r), NB_ERR_ARGUMENT);
    nb_search_result_free(NULL);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("search_space");
    tcase_add_test(c, grid);
    tcase_add_test(c, ranges);
    tcase_add_test(c, whole_numbers);
    tcase_add_test(c, seeds);
    tcase_add_test(c, numbers_refused);
    tcase_add_test(c, dimensions_refused);
    tcase_add_test(c, spaces_refused);
    tcase_add_test(c, text);
    return run_case("search_space", c);
}
