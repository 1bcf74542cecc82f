/*
 * Plots as text, and their ticks.
 *
 * Small plots are compared letter by letter with what follows from reasoning about the dots: on an area as
 * many dots wide as high, y = x is the diagonal. Larger ones are read back: a Braille character gives its
 * dots, and these must be those of the data.
 */
#include "plot.h"

#include "view/plot.h"

#include <locale.h>
#include <string.h>

/* Frees what was drawn. */
static void is_text(const nb_plot *p, const char *expected)
{
    char *text = drawn(p, nb_plot_print);
    ck_assert_str_eq(text, expected);
    free(text);
}

/* ---- letter by letter ------------------------------------------------------------------------ */

static const char diagonal[] = "  1 ┤                  ⡠⠊\n"
                               "    │                ⡠⠊\n"
                               "    │              ⡠⠊\n"
                               "    │            ⡠⠊\n"
                               "0.5 ┤          ⡠⠊\n"
                               "    │        ⡠⠊\n"
                               "    │      ⡠⠊\n"
                               "    │    ⡠⠊\n"
                               "    │  ⡠⠊\n"
                               "  0 ┤⡠⠊\n"
                               "    └┬─────────┬────────┬\n"
                               "     0        0.5       1\n";

START_TEST(the_diagonal)
{
    const double ends[] = {0, 1}, beyond[] = {-1, 2}, huge[] = {-1e300, 1e300};
    nb_series s = {.n = 2, .x = ends, .y = ends};
    nb_plot p = {.n = 1, .series = &s, .columns = 25, .rows = 12};
    is_text(&p, diagonal);
    double many[40];
    for (int i = 0; i < 40; i++)
        many[i] = i / 39.0;
    s = (nb_series){.n = 40, .x = many, .y = many};
    is_text(&p, diagonal);
    s.kind = NB_PLOT_POINTS;
    is_text(&p, diagonal);
    p.x.high = p.y.high = 1; /* the same when clipped from a longer line */
    s = (nb_series){.n = 2, .x = beyond, .y = beyond};
    is_text(&p, diagonal);
    s = (nb_series){.n = 2, .x = huge, .y = huge};
    is_text(&p, diagonal);
}
END_TEST

START_TEST(in_ascii)
{
    const nb_series s = {.n = 3, .y = (const double[]){1, 0, 1}};
    is_text(&(nb_plot){.n = 1, .series = &s, .columns = 14, .rows = 7, .ascii = true},
            "  1 +*       *\n"
            "    | *     *\n"
            "0.5 +  *   *\n"
            "    |   * *\n"
            "  0 +    *\n"
            "    ++---+---+\n"
            "     0   1   2\n");
}
END_TEST

/* Labels, a band, steps, and a logarithmic axis whose decades are two rows apart. */
START_TEST(names_and_letters)
{
    const double one[] = {1, 1}, ten[] = {10, 10}, up[] = {100, 1};
    const nb_series s[] = {{.name = "in", .kind = NB_PLOT_BAND, .n = 2, .y = one, .y2 = ten},
                           {.name = "st\x1b"
                                    "ep",
                            .kind = NB_PLOT_STEPS,
                            .n = 2,
                            .y = up}};
    const nb_plot p = {.title = "Title",
                       .x.label = "t",
                       .y = {.label = "f", .log = true},
                       .n = 2,
                       .series = s,
                       .columns = 14,
                       .rows = 11,
                       .ascii = true};
    is_text(&p, "       Title\n"
                " f\n"
                "100 +bbbbbbbbb\n"
                "    |        b\n"
                " 10 +::::::::b\n"
                "    |::::::::b\n"
                "  1 +::::::::b\n"
                "    ++---+---+\n"
                "     0  0.5  1\n"
                "         t\n"
                " a in  b st?ep\n");
}
END_TEST

/* y2 counts for the range too, and letters that would stand in one cell stand side by side. */
START_TEST(letters_stand_aside)
{
    const double low[] = {0, 0}, high[] = {0, 2}, up[] = {0, 1};
    const nb_series s[] = {
        {.kind = NB_PLOT_BAND, .n = 2, .y = low, .y2 = high}, {.n = 2, .y = up}, {.n = 2, .y = up}};
    const nb_plot p = {.n = 3, .series = s, .columns = 11, .rows = 5};
    char *text = drawn(&p, nb_plot_print);
    ck_assert(strncmp(text, "2 ┤ ", strlen("2 ┤ ")) == 0);
    ck_assert_ptr_nonnull(strstr(text, "a\n1 ┤"));
    ck_assert_ptr_nonnull(strstr(text, "cb\n0 ┤"));
    free(text);
}
END_TEST

START_TEST(bars_stand_on_zero)
{
    const nb_series s = {.kind = NB_PLOT_BARS, .n = 3, .y = (const double[]){2, -2, 1}};
    /* from -0.4 to 2.4 on 15 cells, 0.2 apart: bars from -0.4 to 0.4, 0.6 to 1.4, 1.6 to 2.4 */
    is_text(&(nb_plot){.n = 1, .series = &s, .columns = 19, .rows = 7, .ascii = true},
            " 2 +*****\n"
            "   |*****     *****\n"
            " 0 +***************\n"
            "   |     *****\n"
            "-2 +     *****\n"
            "   +--+---------+--\n"
            "      0         2\n");
}
END_TEST

START_TEST(heat_is_shaded)
{
    const double z[] = {0, 1, 2, none, 3, 4};
    const nb_heat h = {.name = "z", .rows = 2, .columns = 3, .z = z, .x = {0, 3}, .y = {0, 2}};
    is_text(&(nb_plot){.heat = &h, .columns = 12, .rows = 7}, "2 ┤   ▓▓▓▓▓▓\n"
                                                              "1 ┤   ▓▓▓▓▓▓\n"
                                                              "  │   ░░░▒▒▒\n"
                                                              "0 ┤   ░░░▒▒▒\n"
                                                              "  └┬────┬───\n"
                                                              "   0    2\n"
                                                              " ▒ z: 0 to 4\n");
}
END_TEST

/* ---- read back ------------------------------------------------------------------------------- */

enum { WIDE = 40, HIGH = 12, DOTS = 4096 };

/* The dots of a plot of that area without names: how many, and which. */
static int read_dots(const nb_plot *p, bool *dot)
{
    char *text = drawn(p, nb_plot_print), *line = text;
    int count = 0;
    memset(dot, 0, DOTS * sizeof *dot);
    for (int row = 0; row < HIGH; row++, line = strchr(line, '\n') + 1) {
        const char *c = strstr(line, "\xe2\x94"); /* the axis */
        ck_assert_ptr_nonnull(c);
        c += 3;
        for (int column = 0; *c != '\n'; column++, c += *c == ' ' ? 1 : 3) {
            static const int x_of[8] = {0, 0, 0, 1, 1, 1, 0, 1}, y_of[8] = {0, 1, 2, 0, 1, 2, 3, 3};
            const int set = *c == ' ' ? 0 : (c[1] & 3) << 6 | (c[2] & 0x3f);
            for (int k = 0; k < 8; k++)
                if (set >> k & 1) {
                    dot[(HIGH * 4 - 1 - row * 4 - y_of[k]) * WIDE * 2 + column * 2 + x_of[k]] =
                        true;
                    count++;
                }
        }
    }
    free(text);
    return count;
}

/* On axes from 0 to 1 with labels of three characters. */
static nb_plot unit_plot(const nb_series *s)
{
    return (nb_plot){
        .x.high = 1, .y.high = 1, .n = 1, .series = s, .columns = WIDE + 5, .rows = HIGH + 2};
}

static int index_of(double x, double y)
{
    return (int)lround(y * (HIGH * 4 - 1)) * WIDE * 2 + (int)lround(x * (WIDE * 2 - 1));
}

START_TEST(each_point_has_its_dot)
{
    enum { N = 60 };
    static bool dot[DOTS], expected[DOTS];
    double x[N], y[N];
    nb_rng r = nb_rng_seed(5);
    for (int round = 0; round < 50; round++) {
        int count = 0, missing = 0;
        memset(expected, 0, sizeof expected);
        for (int i = 0; i < N; i++) {
            x[i] = nb_rng_uniform(&r);
            y[i] = nb_rng_uniform(&r);
            count += !expected[index_of(x[i], y[i])];
            expected[index_of(x[i], y[i])] = true;
        }
        nb_series s = {.kind = NB_PLOT_POINTS, .n = N, .x = x, .y = y};
        const nb_plot p = unit_plot(&s);
        ck_assert_int_eq(read_dots(&p, dot), count);
        ck_assert_mem_eq(dot, expected, sizeof dot);
        for (int kind = NB_PLOT_LINE; kind <= NB_PLOT_STEPS; kind += NB_PLOT_STEPS) {
            s.kind = (nb_plot_kind)kind;
            read_dots(&p, dot);
            for (int i = 0; i < DOTS; i++)
                missing += expected[i] && !dot[i];
        }
        ck_assert_int_eq(missing, 0);
    }
}
END_TEST

START_TEST(what_cannot_be_drawn)
{
    static bool dot[DOTS], other[DOTS];
    const double x[] = {0, 0.2, 0.4, 0.6, 0.8, 1}, y[] = {0.1, none, 0.5, none, 0.2, 0.9};
    nb_series s = {.n = 6, .x = x, .y = y};
    nb_plot p = unit_plot(&s);
    /* a dot, a dot, and a line from (0.8, 0.2) to (1, 0.9): 9.4 to 42.3 of 47 up, 34 dots */
    ck_assert_int_eq(read_dots(&p, dot), 2 + 34);
    ck_assert(dot[index_of(0, 0.1)] && dot[index_of(0.4, 0.5)] && dot[index_of(0.8, 0.2)]);

    const double holes[] = {0.1, inf, 0.5, -inf, 0.2, 0.9};
    const double x_left[] = {0, 0.4, 0.8, 1}, left[] = {0.1, 0.5, 0.2, 0.9};
    s.y = holes;
    const int count = read_dots(&p, dot);
    s = (nb_series){.n = 4, .x = x_left, .y = left};
    ck_assert_int_eq(read_dots(&p, other), count);
    ck_assert_mem_eq(dot, other, sizeof dot);

    /* On a logarithmic axis what is not positive is left out as well. */
    const double powers[] = {1, 0, 100, -5, 10}, log_x[] = {0, 0.25, 0.5, 0.75, 1};
    const double few_x[] = {0, 0.5, 1}, few[] = {0, 1, 0.5};
    p.y = (nb_plot_axis){.log = true};
    s = (nb_series){.n = 5, .x = log_x, .y = powers};
    const int on_log = read_dots(&p, dot);
    s = (nb_series){.n = 3, .x = few_x, .y = few};
    p = unit_plot(&s);
    ck_assert_int_eq(read_dots(&p, other), on_log);
    ck_assert_mem_eq(dot, other, sizeof dot);
}
END_TEST

START_TEST(bands_are_filled)
{
    static bool dot[DOTS];
    const double low[] = {0.25, 0.25}, high[] = {0.75, 2}, x[] = {1, 0};
    const nb_series s = {.kind = NB_PLOT_BAND, .n = 2, .x = x, .y = low, .y2 = high};
    const nb_plot p = unit_plot(&s);
    read_dots(&p, dot);
    int wrong = 0;
    for (int i = 0; i < WIDE * 2 * HIGH * 4; i++) {
        const int column = i % (WIDE * 2), row = i / (WIDE * 2);
        const double top = 2 - 1.25 * column / (WIDE * 2 - 1.0);
        const double y = row / (HIGH * 4 - 1.0), half = 0.51 / (HIGH * 4 - 1);
        if (fabs(y - 0.25) > half && fabs(y - top) > half)
            wrong += dot[i] != (y > 0.25 && y < top && (row + column) % 2 == 0);
    }
    ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(one_point_and_constants)
{
    static bool dot[DOTS];
    nb_series s = {.n = 1, .y = (const double[]){0}}; /* -1, 0, 1: in the middle */
    nb_plot p = {.n = 1, .series = &s, .columns = WIDE + 4, .rows = HIGH + 2};
    const double same[] = {1e300, 1e300}, most[] = {-1.7e308, 1.7e308};
    const double close[] = {1, 1 + 1e-15};
    ck_assert_int_eq(read_dots(&p, dot), 1);
    s = (nb_series){.n = 2, .x = same, .y = same};
    free(drawn(&p, nb_plot_print));
    s = (nb_series){.n = 2, .x = most, .y = most};
    free(drawn(&p, nb_plot_print));
    s = (nb_series){.n = 2, .x = close, .y = close};
    free(drawn(&p, nb_plot_print));
    p.x.log = p.y.log = true;
    free(drawn(&p, nb_plot_print));
    s = (nb_series){.n = 2, .x = same, .y = (const double[]){5e-324, 1.7e308}};
    free(drawn(&p, nb_plot_print));
}
END_TEST

START_TEST(colours_are_escapes_only)
{
    const nb_series s[] = {{.name = "one", .n = 2, .y = (const double[]){0, 1}},
                           {.name = "two", .n = 2, .y = (const double[]){1, 0}}};
    nb_plot p = {.n = 2, .series = s};
    char *plain = drawn(&p, nb_plot_print), *to, *from;
    p.colour = true;
    char *coloured = drawn(&p, nb_plot_print);
    ck_assert(!strchr(plain, 0x1b) && strstr(coloured, "\x1b[31ma\x1b[0m") &&
              strstr(coloured, "\x1b[32mb\x1b[0m"));
    for (to = from = coloured; *from;)
        if (*from == 0x1b)
            from = strchr(from, 'm') + 1;
        else
            *to++ = *from++;
    *to = 0;
    ck_assert_str_eq(plain, coloured);
    free(plain);
    free(coloured);
}
END_TEST

/* ---- ticks ----------------------------------------------------------------------------------- */

/* Within the range, ascending, and labelled with what they are; at least two. */
static bool sound_ticks(const nbi_scale *s, int most)
{
    const double span = s->high / 2 - s->low / 2;
    bool sound = s->n >= 2 && s->n <= (most > 6 ? most : 6) + 1;
    for (int k = 0; k < s->n; k++) {
        const double v = s->tick[k], said = strtod(s->label[k], NULL);
        sound = sound && v >= s->low && v <= s->high && (!k || v > s->tick[k - 1]) &&
                fabs(said / 2 - v / 2) <= 1e-5 * (s->log ? v : span);
    }
    return sound;
}

/* One apart by 1, 2 or 5 times a power of ten, and not more than asked for. */
static bool round_steps(const nbi_scale *s, int most)
{
    const double step = s->tick[1] - s->tick[0], lead = step / pow(10, floor(log10(step) + 1e-6));
    const double off = fmin(fmin(fabs(lead - 1), fabs(lead - 2)), fabs(lead - 5));
    return off < 1e-6 && (s->high - s->low) / step < most + 1e-6;
}

START_TEST(ticks_are_round)
{
    nb_rng r = nb_rng_seed(9);
    for (int i = 0; i < 5000; i++) {
        nbi_scale s, on_log;
        const int most = 5 + (int)nb_rng_below(&r, 12);
        const double size = pow(10, 40 * nb_rng_uniform(&r) - 20), low = size * nb_rng_normal(&r);
        nbi_scale_set(&s, false, low, low + size * pow(10, -7 * nb_rng_uniform(&r)));
        nbi_scale_ticks(&s, most);
        nbi_scale_set(&on_log, true, size, size * pow(10, 30 * pow(nb_rng_uniform(&r), 4)));
        nbi_scale_ticks(&on_log, most);
        if (!sound_ticks(&s, most) || !round_steps(&s, most))
            ck_abort_msg("%d ticks, at most %d, from %.17g to %.17g", s.n, most, s.low, s.high);
        if (!sound_ticks(&on_log, most))
            ck_abort_msg("%d ticks, at most %d, from %.17g to %.17g (logarithmic)", on_log.n, most,
                         on_log.low, on_log.high);
    }
}
END_TEST

START_TEST(ticks_known)
{
    nbi_scale s;
    nbi_scale_set(&s, false, -0.3, 0.72);
    nbi_scale_ticks(&s, 6); /* 0.17 is the least step: 0.2 */
    static const char *const fifths[] = {"-0.2", "0", "0.2", "0.4", "0.6"};
    ck_assert_int_eq(s.n, 5);
    for (int k = 0; k < 5; k++)
        ck_assert_str_eq(s.label[k], fifths[k]);
    nbi_scale_set(&s, true, 3e-8, 2e7);
    nbi_scale_ticks(&s, 5); /* 14 decades, every third */
    static const char *const thirds[] = {"1e-6", "0.001", "1", "1000", "1e6"};
    ck_assert_int_eq(s.n, 5);
    for (int k = 0; k < 5; k++)
        ck_assert_str_eq(s.label[k], thirds[k]);
    nbi_scale_set(&s, true, 3, 60);
    nbi_scale_ticks(&s, 5);
    static const char *const parts[] = {"5", "10", "20", "50"};
    ck_assert_int_eq(s.n, 4);
    for (int k = 0; k < 4; k++)
        ck_assert_str_eq(s.label[k], parts[k]);
    ck_assert_double_eq(nbi_scale_at(&s, 3), 0);
    ck_assert_double_eq(nbi_scale_at(&s, 60), 1);
    ck_assert_double_eq_tol(nbi_scale_at(&s, sqrt(3 * 60)), 0.5, 1e-15);
    ck_assert(isinf(nbi_scale_at(&s, 0)) && isinf(nbi_scale_at(&s, inf)));
}
END_TEST

/* Where the machine has a locale with another decimal point. */
START_TEST(numbers_have_points)
{
    static const char *const with_comma[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    const nb_series s = {.n = 2, .x = (const double[]){0, 1}, .y = (const double[]){0, 1}};
    const nb_plot p = {.n = 1, .series = &s, .columns = 25, .rows = 12};
    char text[NBI_NUMBER_TEXT];
    for (size_t k = 0; k < sizeof with_comma / sizeof *with_comma; k++)
        if (setlocale(LC_NUMERIC, with_comma[k])) {
            nbi_plot_number(text, 6, -1.5e-7);
            setlocale(LC_NUMERIC, "C");
            ck_assert_str_eq(text, "-1.5e-7");
            setlocale(LC_NUMERIC, with_comma[k]);
            is_text(&p, diagonal);
            setlocale(LC_NUMERIC, "C");
        }
    nbi_plot_number(text, 3, 123456);
    ck_assert_str_eq(text, "123456");
    nbi_plot_number(text, 3, 1e20);
    ck_assert_str_eq(text, "1e20");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("plot");
    tcase_add_test(c, the_diagonal);
    tcase_add_test(c, in_ascii);
    tcase_add_test(c, names_and_letters);
    tcase_add_test(c, letters_stand_aside);
    tcase_add_test(c, bars_stand_on_zero);
    tcase_add_test(c, heat_is_shaded);
    tcase_add_test(c, each_point_has_its_dot);
    tcase_add_test(c, what_cannot_be_drawn);
    tcase_add_test(c, bands_are_filled);
    tcase_add_test(c, one_point_and_constants);
    tcase_add_test(c, colours_are_escapes_only);
    tcase_add_test(c, ticks_are_round);
    tcase_add_test(c, ticks_known);
    tcase_add_test(c, numbers_have_points);
    return run_case("plot", c);
}
