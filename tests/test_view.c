/*
 * Pictures and tables of graphs.
 *
 * That a drawing is right is tested on what was printed. In pictures of random graphs each arrow is
 * followed back along the lines, through branches and straight across crossings, to the box that it
 * comes from: this must be the operand, and no other. The rest is compared letter by letter.
 */
#include "run.h"

#include <nabla.h>
#include <nabla/view.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *graph_text(nb_var f, const nb_view *view)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    ck_assert_int_eq(nb_print_graph_with(to, f, view), NB_OK);
    fclose(to);
    return text;
}

static char *trace_text(nb_tape *t, const nb_view *view)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    ck_assert_int_eq(nb_print_trace_with(to, t, view), NB_OK);
    fclose(to);
    return text;
}

/* Frees what was printed. */
static void is_text(char *printed, const char *wanted)
{
    ck_assert_str_eq(printed, wanted);
    free(printed);
}

static nb_var record_xyz(nb_tape *t)
{
    nb_var x = nb_input(t, "x", -2), y = nb_input(t, "y", 5), z = nb_input(t, "z", -4);
    return nb_mul(nb_add(x, y), z);
}

/* ---- letter by letter
 * ------------------------------------------------------------------------------ */

START_TEST(xyz_is_drawn)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var f = record_xyz(t);
    is_text(graph_text(f, NULL), "╭────╮\n"
                                 "│ x  │\n"
                                 "│ -2 ├─╮      ╭─────╮\n"
                                 "╰────╯ ╰─ 1 ─▶│ add │\n"
                                 "╭────╮ ╭─ 1 ─▶│  3  ├─╮\n"
                                 "│ y  │ │      ╰─────╯ │       ╭─────╮\n"
                                 "│ 5  ├─╯              ╰─ -4 ─▶│ mul │\n"
                                 "╰────╯                ╭── 3 ─▶│ -12 │\n"
                                 "╭────╮                │       ╰─────╯\n"
                                 "│ z  │                │\n"
                                 "│ -4 ├────────────────╯\n"
                                 "╰────╯\n");
    nb_backward(f);
    is_text(graph_text(f, &(nb_view){.ascii = true}), "+------+\n"
                                                      "|  x   |\n"
                                                      "|  -2  +-+      +------+\n"
                                                      "| d -4 | +- 1 ->| add  |\n"
                                                      "+------+        |  3   +-+\n"
                                                      "+------+ +- 1 ->| d -4 | |\n"
                                                      "|  y   | |      +------+ |       +-----+\n"
                                                      "|  5   +-+               +- -4 ->| mul |\n"
                                                      "| d -4 |                         | -12 |\n"
                                                      "+------+                 +-- 3 ->| d 1 |\n"
                                                      "+------+                 |       +-----+\n"
                                                      "|  z   |                 |\n"
                                                      "|  -4  +-----------------+\n"
                                                      "| d 3  |\n"
                                                      "+------+\n");
    nb_tape_free(t);
}
END_TEST

START_TEST(what_does_not_fit_is_a_table)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var f = record_xyz(t), other = nb_exp(f);
    nb_backward(f);
    nb_name(other, "other");
    const char *table = "  place  name  op     value  adjoint  operands (local derivative)\n"
                        "      0  x     input     -2       -4\n"
                        "      1  y     input      5       -4\n"
                        "      2  z     input     -4        3\n"
                        "      3        add        3       -4  0 (1), 1 (1)\n"
                        "      4        mul      -12        1  3 (-4), 2 (3)\n";
    is_text(graph_text(f, &(nb_view){.rows = 14}), table);
    is_text(graph_text(f, &(nb_view){.columns = 38}), table);
    is_text(trace_text(t, &(nb_view){.most = 2}), "  place  name  op     value  adjoint  operands\n"
                                                  "      0  x     input     -2       -4\n"
                                                  "      1  y     input      5       -4\n"
                                                  "  and 4 more\n");
    nb_tape_free(t);
}
END_TEST

START_TEST(tensors_constants_and_shared_nodes)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var w = nb_tensor(t, "w", NB_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
    nb_var s = nb_sum(nb_mul(w, 2)), f = nb_mul(s, s);
    nb_backward(f);
    is_text(graph_text(f, NULL), "╭───────╮\n"
                                 "│   w   │\n"
                                 "│ [2 3] ├─╮  ╭───────╮   ╭──────╮         ╭──────╮\n"
                                 "╰───────╯ ╰─▶│  mul  │   │ sum  │ ╭─ 42 ─▶│ mul  │\n"
                                 "╭───────╮ ╭─▶│ [2 3] ├──▶│  42  ├─┤       │ 1764 │\n"
                                 "│   2   ├─╯  ╰───────╯   │ ∂ 84 │ ╰─ 42 ─▶│ ∂ 1  │\n"
                                 "╰───────╯                ╰──────╯         ╰──────╯\n");
    nb_tape_free(t);
}
END_TEST

START_TEST(names_are_made_printable)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "gr\xc3\xb6\xc3\x9f\x65\x01\xff", 1);
    is_text(graph_text(x, NULL), "╭─────────╮\n"
                                 "│ größe?? │\n"
                                 "│    1    │\n"
                                 "╰─────────╯\n");
    is_text(graph_text(x, &(nb_view){.ascii = true}), "+---------+\n"
                                                      "| gr??e?? |\n"
                                                      "|    1    |\n"
                                                      "+---------+\n");
    nb_name(x, "a name that goes on and on");
    is_text(graph_text(x, NULL), "╭──────────────────╮\n"
                                 "│ a name that goe… │\n"
                                 "│        1         │\n"
                                 "╰──────────────────╯\n");
    nb_tape_free(t);
}
END_TEST

/* ---- following the lines
 * ------------------------------------------------------------------------------ */

enum { ROWS = 48, COLUMNS = 128, MOST = 24 };
enum { UP = 1, DOWN = 2, LEFT = 4, RIGHT = 8 };

typedef struct box {
    int left, right, top, bottom;
} box;

typedef struct grid {
    char at[ROWS][COLUMNS][5]; /* one character each */
    box boxes[MOST];
    int n;
    unsigned char seen[ROWS][COLUMNS];
} grid;

static void read_grid(grid *g, const char *text)
{
    memset(g->at, 0, sizeof g->at);
    for (int row = 0, column = 0; *text; text++)
        if (*text == '\n') {
            row++;
            column = 0;
        } else {
            size_t n = 1;
            while ((text[n] & 0xc0) == 0x80)
                n++;
            ck_assert(row < ROWS && column < COLUMNS && n < 5);
            memcpy(g->at[row][column++], text, n);
            text += n - 1;
        }
}

static bool is(const grid *g, int row, int column, const char *c)
{
    return row >= 0 && column >= 0 && !strcmp(g->at[row][column], c);
}

/* The box with the text "n07". */
static box find_box(const grid *g, int k)
{
    for (int row = 0; row < ROWS; row++)
        for (int x = 0; x < COLUMNS - 2; x++)
            if (is(g, row, x, "n") && g->at[row][x + 1][0] == '0' + k / 10 &&
                g->at[row][x + 2][0] == '0' + k % 10) {
                box b = {x, x, row, row};
                while (!is(g, row, b.left, "│"))
                    b.left--;
                while (!is(g, row, b.right, "│") && !is(g, row, b.right, "├"))
                    b.right++;
                while (!is(g, b.top, b.left, "╭"))
                    b.top--;
                while (!is(g, b.bottom, b.left, "╰"))
                    b.bottom++;
                return b;
            }
    return (box){-1, -1, -1, -1};
}

static int directions(const char *c)
{
    static const char *lines[16] = {"", "",  "",  "│", "",  "╯", "╮", "┤",
                                    "", "╰", "╭", "├", "─", "┴", "┬", "╋"};
    for (int k = 1; k < 16; k++)
        if (*lines[k] && !strcmp(c, lines[k]))
            return k;
    return 0;
}

/* The boxes, as a set, on whose right side the line that enters this cell begins. */
static unsigned follow(grid *g, int row, int column, int heading)
{
    struct {
        int row, column, heading;
    } stack[ROWS * COLUMNS];
    unsigned found = 0;
    int n = 0;
    memset(g->seen, 0, sizeof g->seen);
    stack[n].row = row, stack[n].column = column, stack[n++].heading = heading;
    while (n--) {
        int r = stack[n].row, x = stack[n].column, from = stack[n].heading, owner = -1;
        ck_assert_msg(r >= 0 && x >= 0 && r < ROWS && x < COLUMNS && g->at[r][x][0],
                      "a line leads nowhere");
        if (g->seen[r][x] & from || (is(g, r, x, "▶") && from == RIGHT))
            continue;
        g->seen[r][x] = (unsigned char)(g->seen[r][x] | from);
        for (int k = 0; k < g->n; k++)
            if (x == g->boxes[k].right && r > g->boxes[k].top && r < g->boxes[k].bottom)
                owner = k;
        if (owner >= 0) {
            found |= 1u << owner;
            continue;
        }
        int to = directions(g->at[r][x]), back = from == UP     ? DOWN
                                                 : from == DOWN ? UP
                                                 : from == LEFT ? RIGHT
                                                                : LEFT;
        ck_assert_msg(to == 0 || to & back, "a line is broken");
        ck_assert_msg(to || from == LEFT || from == RIGHT || is(g, r, x, "┼"), "a line is broken");
        to = to ? to & ~back : from; /* text on a line, and crossings, are passed straight */
        for (int d = UP; d <= RIGHT; d *= 2)
            if (to & d) {
                stack[n].row = r + (d == DOWN) - (d == UP);
                stack[n].column = x + (d == RIGHT) - (d == LEFT);
                stack[n++].heading = d;
            }
    }
    return found;
}

static nb_var random_node(nb_tape *t, nb_rng *r)
{
    nb_var v[3];
    for (int k = 0; k < 3; k++)
        v[k] = nb_node(t, nb_rng_below(r, nb_count(t)));
    switch (nb_rng_below(r, 8)) {
    case 0: return nb_sin(v[0]);
    case 1: return nb_fma(v[0], v[1], v[2]);
    case 2: return nb_constant(t, 100 + (double)nb_count(t)); /* equal ones would be one node */
    case 3: return nb_sum_of(3, v);
    case 4: return nb_sub(v[0], v[0]);
    default: return nb_mul(v[0], v[1]);
    }
}

/* Records a graph in which every node has a name. */
static nb_var random_graph(nb_tape *t, nb_rng *r)
{
    size_t inputs = 1 + nb_rng_below(r, 4), nodes = inputs + 1 + nb_rng_below(r, 7);
    nb_reset(t);
    for (size_t k = 0; k < nodes; k++) {
        char name[4] = {'n', (char)('0' + k / 10), (char)('0' + k % 10), 0};
        nb_var v = k < inputs ? nb_input(t, NULL, 2 * nb_rng_uniform(r)) : random_node(t, r);
        nb_name(v, name);
        ck_assert_uint_eq(nb_count(t), k + 1);
    }
    return nb_node(t, nodes - 1);
}

static void check_drawing(grid *g, nb_tape *t)
{
    g->n = (int)nb_count(t);
    for (int k = 0; k < g->n; k++)
        g->boxes[k] = find_box(g, k);
    for (int k = 0; k < g->n; k++) {
        const box *b = &g->boxes[k];
        size_t port = 0, n = nb_inspect(nb_node(t, (size_t)k)).n_in;
        for (int row = b->top + 1; b->left >= 0 && row < b->bottom; row++)
            if (is(g, row, b->left - 1, "▶")) {
                ck_assert_uint_lt(port, n);
                nb_var operand = nb_input_of(nb_node(t, (size_t)k), port++);
                ck_assert_uint_eq(follow(g, row, b->left - 1, LEFT), 1u << operand.index);
            }
        ck_assert(b->left < 0 || port == n);
    }
}

START_TEST(lines_lead_to_the_operands)
{
    enum { GRAPHS = 500 };
    static grid g;
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(5);
    int drawn = 0;
    for (int k = 0; k < GRAPHS; k++) {
        nb_var f = random_graph(t, &r);
        if (k % 2)
            nb_backward(f);
        char *text = graph_text(f, &(nb_view){.columns = COLUMNS, .rows = ROWS});
        if (!strncmp(text, " ", 1) && strstr(text, "place")) {
            free(text);
            continue;
        }
        drawn++;
        read_grid(&g, text);
        check_drawing(&g, t);
        free(text);
    }
    ck_assert_int_gt(drawn, GRAPHS / 2);
    nb_tape_free(t);
}
END_TEST

/* ---- what can go wrong
 * ------------------------------------------------------------------------------------ */

START_TEST(bad_arguments_give_a_status)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_mark mark = nb_tape_mark(t);
    nb_var f = record_xyz(t);
    ck_assert_int_eq(nb_print_graph(stdout, nb_num(3)), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_print_trace(stdout, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_print_graph(NULL, f), NB_ERR_ARGUMENT);
    ck_assert_str_eq(nb_message(t), "print_graph: the stream is NULL");
    nb_clear(t);
    ck_assert_int_eq(nb_print_trace(NULL, t), NB_ERR_ARGUMENT);
    nb_clear(t);
    nb_var broken = nb_at(f, 9);
    ck_assert_int_eq(nb_print_graph(stdout, broken), nb_status(t));
    free(graph_text(f, NULL)); /* what was recorded before the error can still be seen */
    free(trace_text(t, NULL));
    nb_clear(t);
    nb_rewind(mark);
    ck_assert_int_eq(nb_print_graph(stdout, f), NB_ERR_HANDLE);
    nb_tape_free(t);
}
END_TEST

START_TEST(a_full_disk_is_noticed)
{
    FILE *full = fopen("/dev/full", "w");
    if (!full)
        return;
    nb_tape *t = nb_tape_new(NULL);
    nb_var f = record_xyz(t);
    ck_assert_int_eq(nb_print_graph(full, f), NB_ERR_CALLBACK);
    nb_clear(t);
    ck_assert_int_eq(nb_print_trace(full, t), NB_ERR_CALLBACK);
    fclose(full);
    nb_tape_free(t);
}
END_TEST

START_TEST(deep_graphs_need_no_stack)
{
    enum { DEPTH = 1000000 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var s = nb_input(t, "s", 1);
    for (int k = 0; k < DEPTH; k++)
        s = nb_sin(s);
    char *text = graph_text(s, &(nb_view){.most = 3});
    ck_assert_ptr_nonnull(strstr(text, "and 999998 more\n"));
    free(text);
    nb_tape_free(t);
}
END_TEST

START_TEST(no_memory_is_an_error)
{
    nb_tape *t = nb_tape_new(&(nb_options){.nodes = 100000, .max_bytes = 3000000});
    nb_var s = nb_input(t, "s", 1);
    for (int k = 1; k < 100000; k++)
        s = nb_sin(s);
    while (nb_ok(nb_zeros(t, NB_SHAPE(64)))) {
    }
    nb_clear(t);
    ck_assert_int_eq(nb_print_graph(stdout, s), NB_ERR_LIMIT);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("view");
    TCase *tests = tcase_create("view");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, xyz_is_drawn);
    tcase_add_test(tests, what_does_not_fit_is_a_table);
    tcase_add_test(tests, tensors_constants_and_shared_nodes);
    tcase_add_test(tests, names_are_made_printable);
    tcase_add_test(tests, lines_lead_to_the_operands);
    tcase_add_test(tests, bad_arguments_give_a_status);
    tcase_add_test(tests, a_full_disk_is_noticed);
    tcase_add_test(tests, deep_graphs_need_no_stack);
    tcase_add_test(tests, no_memory_is_an_error);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
