/*
 * Plots and the bar.
 *
 * Small plots are compared letter by letter with what follows from reasoning about the dots: on an area as
 * many dots wide as high, y = x is the diagonal. Larger ones are read back: a Braille character gives its
 * dots, and these must be those of the data. SVG is read by a checker of its own: tags balance, attributes are
 * quoted, text is escaped.
 */
#include "counting.h"
#include "folder.h"

#include "view/plot.h"

#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

static const double none = (double)NAN, inf = (double)INFINITY;

static char *drawn(const nb_plot *p, nb_code (*draw)(FILE *, const nb_plot *, nb_reason *))
{
    char *text = NULL;
    size_t size;
    nb_reason why = {""};
    FILE *to = open_memstream(&text, &size);
    fine(draw(to, p, &why), &why);
    fclose(to);
    return text;
}

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

/* ---- SVG ------------------------------------------------------------------------------------- */

/* The tag at s, which begins with '<': its attributes quoted, each with one '='. Returns its end. */
static const char *read_tag(const char *s, char *name, bool *closes, bool *empty)
{
    size_t n = strcspn(s + 1, " />\n");
    *closes = s[1] == '/';
    if (*closes)
        n = 1 + strcspn(s + 2, ">");
    snprintf(name, 32, "%.*s", (int)(n - *closes), s + 1 + *closes);
    for (s += 1 + n; *s == ' ';) {
        s += strspn(s, " ");
        const size_t key =
            strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789");
        ck_assert_msg(key && !strncmp(s + key, "=\"", 2), "attribute: %.40s", s);
        const char *value = s + key + 2;
        s = value + strcspn(value, "\"<");
        ck_assert_msg(*s == '"', "value: %.40s", value);
        s++;
    }
    *empty = *s == '/';
    s += *empty;
    ck_assert_msg(*s == '>', "tag %s: %.40s", name, s);
    return s + 1;
}

static void well_formed(const char *s)
{
    char open[16][32], name[32];
    int depth = 0, tags = 0;
    while (*s) {
        bool closes, empty;
        if (*s == '&') {
            static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
            bool good = false;
            for (int k = 0; k < 5; k++)
                good = good || !strncmp(s, known[k], strlen(known[k]));
            ck_assert_msg(good, "entity: %.20s", s);
        }
        if (*s != '<') {
            ck_assert_msg((unsigned char)*s >= 0x20 || *s == '\n', "a control character");
            ck_assert_msg(depth > 0 || *s == '\n', "text outside: %.20s", s);
            s++;
            continue;
        }
        s = read_tag(s, name, &closes, &empty);
        ck_assert(strcmp(name, "script") && ++tags);
        if (closes) {
            ck_assert(depth > 0);
            ck_assert_str_eq(open[--depth], name);
        } else if (!empty) {
            ck_assert_int_lt(depth, 16);
            strcpy(open[depth++], name);
        }
    }
    ck_assert(depth == 0 && tags > 10);
}

START_TEST(svg_is_well_formed)
{
    const double x[] = {1, 2, 3, none, 5}, y[] = {1, 1e-3, none, 1, 7}, y2[] = {2, 1, 1, 1, 8};
    const double z[] = {1, 2, 3, none, 0, -1};
    const nb_heat h = {
        .name = "heat \"<&>'", .rows = 2, .columns = 3, .z = z, .x = {1, 5}, .y = {1e-3, 7}};
    nb_series s[40] = {{0}};
    for (int k = 0; k < 40; k++)
        s[k] = (nb_series){.name = k % 2 ? "a <b> & \"c\" 'd' \x01\xff" : NULL,
                           .kind = (nb_plot_kind)(k % NB_PLOT_KINDS),
                           .n = 5,
                           .x = x,
                           .y = y,
                           .y2 = y2};
    for (int log = 0; log < 2; log++) {
        const nb_plot p = {.title = "</title><script>",
                           .x.label = "x & \n",
                           .y = {.label = "<y>", .log = log != 0},
                           .n = 40,
                           .series = s,
                           .heat = &h,
                           .rows = 40};
        char *text = drawn(&p, nb_plot_svg);
        well_formed(text);
        ck_assert_ptr_nonnull(strstr(text, "<title>&lt;/title&gt;&lt;script&gt;</title>"));
        ck_assert_ptr_nonnull(
            strstr(text, ">a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; ?\?</text>"));
        free(text);
    }
}
END_TEST

START_TEST(svg_paths)
{
    /* 25 by 12 cells of 8 by 18, less 5 columns and 2 rows: an area of 160 by 180 */
    nb_series s = {.n = 3, .x = (const double[]){0, 1, 2}, .y = (const double[]){0, 1, 0}};
    nb_plot p = {.x.high = 1, .y.high = 1, .n = 1, .series = &s, .columns = 25, .rows = 12};
    static const struct {
        nb_plot_kind kind;
        const char *path;
    } of[] = {
        {NB_PLOT_LINE, " d=\"M0 180 L160 0 \""}, /* the second line only touches */
        {NB_PLOT_POINTS, " d=\"M0 180 h0 M160 0 h0 \""},
        {NB_PLOT_STEPS, " d=\"M0 180 L160 180 L160 0 "},
        {NB_PLOT_BAND, " d=\"M0 180 L160 0 L160 90 L0 90 Z M160 0 L320 180 L320 90 L160 90 Z \""},
        {NB_PLOT_BARS, " d=\"M0 180 L64 180 L64 180 L0 180 Z M96 180 L160 180 L160 0 L96 0 Z \""},
    };
    s.y2 = (const double[]){0.5, 0.5, 0.5};
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
        s.kind = of[k].kind;
        char *text = drawn(&p, nb_plot_svg);
        ck_assert_msg(strstr(text, of[k].path) != NULL, "%s is not in\n%s", of[k].path, text);
        well_formed(text);
        free(text);
    }
    s = (nb_series){.kind = NB_PLOT_BAND, .n = 1, .x = s.x + 1, .y = s.y, .y2 = s.y2};
    p.x.high = 2; /* a band of one point is a pixel wide, around 80 */
    char *text = drawn(&p, nb_plot_svg);
    ck_assert_ptr_nonnull(strstr(text, " d=\"M79.5 180 L80.5 180 L80.5 90 L79.5 90 Z \""));
    free(text);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(const nb_plot *p, nb_code code, const char *part)
{
    nb_reason why = {""};
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    said(nb_plot_print(to, p, &why), code, &why, part);
    said(nb_plot_svg(to, p, &why), code, &why, part);
    ck_assert_int_eq(nb_plot_print(to, p, NULL), code);
    fclose(to);
    ck_assert_uint_eq(size, 0);
    free(text);
}

START_TEST(bad_inputs)
{
    const double y[] = {1, 2}, nowhere[] = {none, -1};
    nb_series s = {.name = "s", .n = 2, .y = y};
    nb_plot p = {.n = 1, .series = &s};
    refused(NULL, NB_ERR_ARGUMENT, "the plot is NULL");
    refused(&(nb_plot){.n = 1}, NB_ERR_ARGUMENT, "list of series");
    refused(&(nb_plot){0}, NB_ERR_EMPTY, "nothing to draw: 0 series");
    refused(&(nb_plot){.n = 1, .series = &(nb_series){.y = y}}, NB_ERR_EMPTY, "0 points");
    refused(&(nb_plot){.y.log = true, .n = 1, .series = &(nb_series){.n = 2, .y = nowhere}},
            NB_ERR_EMPTY, "1 series with 2 points");
    p.columns = 1001;
    refused(&p, NB_ERR_ARGUMENT, "1001 columns and 0 rows");
    p.columns = 10;
    refused(&p, NB_ERR_ARGUMENT, "10 columns and 20 rows leave 5 by 17");
    p.columns = 0;
    p.rows = 4;
    refused(&p, NB_ERR_ARGUMENT, "4 rows");
    p.rows = 0;
    p.x = (nb_plot_axis){.low = 2, .high = 1};
    refused(&p, NB_ERR_ARGUMENT, "range of x, 2 to 1");
    p.x = (nb_plot_axis){.low = -1, .high = 1, .log = true};
    refused(&p, NB_ERR_ARGUMENT, "x is logarithmic, but its range begins at -1");
    p.x = (nb_plot_axis){.low = 1, .high = inf};
    refused(&p, NB_ERR_ARGUMENT, "1 to inf");
    p.x = (nb_plot_axis){.log = true};
    s.kind = NB_PLOT_BARS;
    refused(&p, NB_ERR_ARGUMENT, "\"s\", are bars");
    s.kind = NB_PLOT_KINDS;
    refused(&p, NB_ERR_ARGUMENT, "no known kind");
    s.kind = NB_PLOT_BAND;
    refused(&p, NB_ERR_ARGUMENT, "2 points, but no y2");
    s.y = NULL;
    refused(&p, NB_ERR_ARGUMENT, "2 points, but no y");
    nb_heat h = {.rows = 1, .columns = 2, .x = {0, 1}, .y = {1, 1}};
    p = (nb_plot){.heat = &h};
    refused(&p, NB_ERR_ARGUMENT, "1 by 2 has no values");
    h.z = y;
    refused(&p, NB_ERR_ARGUMENT, "reaches in y from 1 to 1");
    h.y[1] = 2;
    p.x.log = true;
    refused(&p, NB_ERR_ARGUMENT, "in x from 0 to 1, on a log");
    h.rows = SIZE_MAX / 4;
    h.columns = 8;
    refused(&p, NB_ERR_OVERFLOW, "too large");
}
END_TEST

START_TEST(streams_and_files)
{
    const nb_series s = {.n = 2, .y = (const double[]){0, 1}};
    const nb_plot p = {.n = 1, .series = &s};
    nb_reason why = {""};
    static char text[1 << 16];
    said(nb_plot_print(NULL, &p, &why), NB_ERR_ARGUMENT, &why, "stream is NULL");
    said(nb_plot_save(NULL, &p, &why), NB_ERR_ARGUMENT, &why, "path is NULL");
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        said(nb_plot_print(full, &p, &why), NB_ERR_FILE, &why, "No space left");
        said(nb_plot_svg(full, &p, &why), NB_ERR_FILE, &why, "did not take");
        fclose(full);
    }
    make_folder();
    char *drawing = drawn(&p, nb_plot_svg);
    fine(nb_plot_save(path("a.svg"), &p, &why), &why);
    text[read_bytes("a.svg", text, sizeof text - 1)] = 0;
    ck_assert_str_eq(text, drawing);
    ck_assert_int_eq(nb_plot_save(path("a.svg"), &(nb_plot){0}, &why), NB_ERR_EMPTY);
    said(nb_plot_save(path("none/a.svg"), &p, &why), NB_ERR_FILE, &why, "none/a.svg");
    text[read_bytes("a.svg", text, sizeof text - 1)] = 0;
    ck_assert_str_eq(text, drawing);
    ck_assert_int_eq(files_in_folder(), 1);
    free(drawing);
    remove_folder();
}
END_TEST

START_TEST(no_memory)
{
    const nb_series s[] = {{.name = "s", .n = 2, .y = (const double[]){0, 1}}, {.n = 0}};
    static double many[2000];
    for (int i = 0; i < 2000; i++)
        many[i] = sin(i);
    const nb_series wave = {.n = 2000, .y = many};
    for (int svg = 0; svg < 2; svg++)
        for (size_t k = 1;; k++) {
            counting c = {.refuse = k};
            nb_reason why = {""};
            char *text = NULL;
            size_t size;
            FILE *to = open_memstream(&text, &size);
            const nb_plot p = {
                .n = 1, .series = svg ? &wave : s, .rows = 60, .allocator = counting_allocator(&c)};
            const nb_code code = (svg ? nb_plot_svg : nb_plot_print)(to, &p, &why);
            fclose(to);
            free(text);
            ck_assert_uint_eq(c.blocks, 0);
            if (!c.refusals) {
                ck_assert(!code && k > 2);
                break;
            }
            said(code, NB_ERR_MEMORY, &why, "no memory");
            ck_assert_uint_eq(size, 0);
        }
}
END_TEST

/* ---- the bar --------------------------------------------------------------------------------- */

/* A terminal to write to; what it shows is read from *master. */
static FILE *terminal(int *master)
{
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    if (*master < 0 || grantpt(*master) || unlockpt(*master))
        return NULL;
    return fopen(ptsname(*master), "r+");
}

static void shows(int master, const char *expected)
{
    char text[1024];
    const size_t wanted = strlen(expected);
    size_t n = 0;
    while (n < wanted) {
        const ssize_t more = read(master, text + n, wanted - n);
        ck_assert_int_gt(more, 0);
        n += (size_t)more;
    }
    text[n] = 0;
    ck_assert_str_eq(text, expected);
}

START_TEST(bar_on_a_terminal)
{
    int master;
    FILE *to = terminal(&master);
    if (!to) /* none to be had here */
        return;
    nb_bar b = {.to = to, .label = "train", .ascii = true};
    nb_bar_draw(&b, 0, 48, 0, NULL);
    shows(master, "\rtrain ------------------------ 0 %\x1b[K");
    nb_bar_draw(&b, 1, 48, 0.09, "too soon");
    nb_bar_draw(&b, 12, 48, 10, "loss 0.5\n");
    shows(master, "\rtrain ======------------------ 25 %, 30 s left  loss 0.5?\x1b[K");
    nb_bar_draw(&b, 48, 48, 10.01, "done"); /* the end is always shown */
    shows(master, "\rtrain ======================== 100 %  done\x1b[K");
    nb_bar_clear(&b);
    nb_bar_clear(&b);
    nb_bar_draw(&b, 7, 0, 10.02, NULL); /* and so is the first after a wipe */
    shows(master, "\r\x1b[K\rtrain 7\x1b[K");
    b = (nb_bar){.to = to};
    nb_bar_draw(&b, 1, 2, 400, NULL);
    shows(master, "\r━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 50 %, 7 min left\x1b[K");
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    nb_bar_draw(&b, 1, 0, 500, longer); /* 79 columns, the last of them an ellipsis */
    char line[200];
    snprintf(line, sizeof line, "\r1  %.75s…\x1b[K", longer);
    shows(master, line);
    fclose(to);
    close(master);
}
END_TEST

START_TEST(no_bar_elsewhere)
{
    FILE *to = tmpfile();
    ck_assert_ptr_nonnull(to);
    nb_bar b = {.to = to}, off = {.label = "x"};
    nb_bar_draw(&b, 1, 2, 0, "x");
    nb_bar_clear(&b);
    nb_bar_draw(&off, 1, 2, 0, "x");
    nb_bar_clear(&off);
    nb_bar_draw(NULL, 1, 2, 0, "x");
    nb_bar_clear(NULL);
    ck_assert_int_eq(ftell(to), 0);
    fclose(to);
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
    tcase_add_test(c, svg_is_well_formed);
    tcase_add_test(c, svg_paths);
    tcase_add_test(c, bad_inputs);
    tcase_add_test(c, streams_and_files);
    tcase_add_test(c, no_memory);
    tcase_add_test(c, bar_on_a_terminal);
    tcase_add_test(c, no_bar_elsewhere);
    return run_case("plot", c);
}
