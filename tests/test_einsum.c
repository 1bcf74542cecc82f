/*
 * einsum against the sentence that defines it: for random formulas, with one to three operands,
 * repeated letters, sums, broadcasting "..." and empty axes, a walk over all values of all indices
 *
 *     y[out] += x0[…] x1[…] …,        dx_k[…] += g[out] times the other factors
 *
 * that finds elements by strides and knows nothing of matrix products. Then what is refused, and
 * where the message points.
 */
#include "run.h"

#include <float.h>
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 5, DOTS = 2, LABELS = LETTERS + DOTS, MOST = 3, ROOM = 4096 };
static const char letter[] = "BDacz"; /* in alphabetical order, capitals first */

/* Labels from LETTERS on are the axes of "...", the last one last. */
typedef struct term {
    int rank, dots; /* dots: its place among the axes of "...", or -1 without */
    int label[NB_MAX_RANK];
    int64_t dim[NB_MAX_RANK];
} term;

typedef struct example {
    int n;
    term in[MOST], out;
    int64_t size[LABELS];
    bool used[LABELS];
    char text[256];
} example;

/* What the definition gives, and the sums of the sizes of the terms. */
typedef struct sums {
    double y[ROOM], y_size[ROOM], d[MOST][ROOM], d_size[MOST][ROOM];
} sums;

/* ---- making formulas ------------------------------------------------------------------------- */

static void push(term *t, int label, int64_t dim)
{
    t->label[t->rank] = label;
    t->dim[t->rank++] = dim;
}

static void write_term(char *text, const term *t, nb_rng *r)
{
    for (int i = 0; i <= t->rank; i++) {
        if (nb_rng_below(r, 8) == 0)
            strcat(text, " ");
        if (i == t->dots)
            strcat(text, "...");
        if (i < t->rank && t->label[i] < LETTERS)
            strncat(text, letter + t->label[i], 1);
    }
}

static void make_operand(example *e, term *t, nb_rng *r)
{
    const int letters = (int)nb_rng_below(r, 4), dots = (int)nb_rng_below(r, DOTS + 1);
    *t = (term){.dots = -1};
    const bool dotted = nb_rng_below(r, 3) == 0;
    const int before = (int)nb_rng_below(r, (uint64_t)letters + 1);
    for (int i = 0; i <= letters; i++) {
        if (i == before && dotted) {
            t->dots = t->rank;
            for (int j = DOTS - dots; j < DOTS; j++) {
                push(t, LETTERS + j, nb_rng_below(r, 3) ? e->size[LETTERS + j] : 1);
                e->used[LETTERS + j] = true;
            }
        }
        if (i < letters) {
            const int l = (int)nb_rng_below(r, LETTERS);
            push(t, l, e->size[l]);
            e->used[l] = true;
        }
    }
}

/* A "..." axis that is 1 in every operand is 1. */
static void settle_dots(example *e)
{
    for (int l = LETTERS; l < LABELS; l++) {
        int64_t most = 1;
        for (int k = 0; k < e->n; k++)
            for (int i = 0; i < e->in[k].rank; i++)
                if (e->in[k].label[i] == l && e->in[k].dim[i] != 1)
                    most = e->in[k].dim[i];
        e->size[l] = most;
    }
}

static void make_result(example *e, bool written, nb_rng *r)
{
    int count[LETTERS] = {0}, order[LETTERS] = {0, 1, 2, 3, 4};
    e->out = (term){.dots = 0};
    for (int k = 0; k < e->n; k++)
        for (int i = 0; i < e->in[k].rank; i++)
            if (e->in[k].label[i] < LETTERS)
                count[e->in[k].label[i]]++;
    for (int i = LETTERS - 1; i > 0 && written; i--) {
        const int j = (int)nb_rng_below(r, (uint64_t)i + 1), o = order[i];
        order[i] = order[j];
        order[j] = o;
    }
    for (int l = LETTERS; l < LABELS; l++)
        if (e->used[l])
            push(&e->out, l, e->size[l]);
    for (int i = 0; i < LETTERS; i++)
        if (written ? count[order[i]] && nb_rng_below(r, 2) : count[order[i]] == 1)
            push(&e->out, order[i], e->size[order[i]]);
}

static example make(nb_rng *r)
{
    example e = {.n = 1 + (int)nb_rng_below(r, MOST)};
    for (int l = 0; l < LABELS; l++)
        e.size[l] = nb_rng_below(r, 25) == 0 ? 0 : 1 + (int64_t)nb_rng_below(r, 3);
    for (int k = 0; k < e.n; k++) {
        make_operand(&e, &e.in[k], r);
        if (k)
            strcat(e.text, ",");
        write_term(e.text, &e.in[k], r);
    }
    settle_dots(&e);
    const bool written = nb_rng_below(r, 4) > 0;
    make_result(&e, written, r);
    if (written) {
        strcat(e.text, "->");
        write_term(e.text, &e.out, r);
    }
    return e;
}

/* ---- the definition -------------------------------------------------------------------------- */

static int64_t place(const term *t, const int64_t *index)
{
    int64_t at = 0;
    for (int i = 0; i < t->rank; i++)
        at = at * t->dim[i] + (t->dim[i] == 1 ? 0 : index[t->label[i]]);
    return at;
}

static int64_t size_of(const term *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static void define(const example *e, double x[MOST][ROOM], const double *g, sums *s)
{
    int64_t index[LABELS] = {0}, all = 1;
    memset(s, 0, sizeof *s);
    for (int l = 0; l < LABELS; l++)
        all *= e->used[l] ? e->size[l] : 1;
    for (int64_t z = 0; z < all; z++) {
        int64_t left = z;
        for (int l = 0; l < LABELS; l++) {
            index[l] = e->used[l] ? left % e->size[l] : 0;
            left /= e->used[l] ? e->size[l] : 1;
        }
        const int64_t o = place(&e->out, index);
        double product = 1;
        for (int k = 0; k < e->n; k++) {
            double others = g[o];
            for (int j = 0; j < e->n; j++)
                others *= j == k ? 1 : x[j][place(&e->in[j], index)];
            s->d[k][place(&e->in[k], index)] += others;
            s->d_size[k][place(&e->in[k], index)] += fabs(others);
            product *= x[k][place(&e->in[k], index)];
        }
        s->y[o] += product;
        s->y_size[o] += fabs(product);
    }
}

/* ---- the comparison -------------------------------------------------------------------------- */

static void fill(double *x, int64_t n, nb_rng *r)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(2 * nb_rng_uniform(r) - 1);
}

static void agree(const example *e, const char *what, const double *got, const double *expected,
                  const double *terms, int64_t n, nb_dtype d)
{
    const double unit = d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= 8 * unit * terms[i]))
            ck_abort_msg("%s: %s[%d] is %.17g, not %.17g", e->text, what, (int)i, got[i],
                         expected[i]);
}

static void run_example(const example *e, nb_dtype d, nb_rng *r)
{
    static double x[MOST][ROOM], g[ROOM], got[ROOM];
    static sums s;
    nb_var in[MOST];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    const int64_t n_out = size_of(&e->out);
    for (int k = 0; k < e->n; k++) {
        fill(x[k], size_of(&e->in[k]), r);
        in[k] = nb_tensor(t, NULL, nb_shape_make((size_t)e->in[k].rank, e->in[k].dim), x[k]);
    }
    fill(g, n_out, r);
    define(e, x, g, &s);
    nb_var y = nb_einsum_of(e->text, (size_t)e->n, in);
    ck_assert_msg(nb_status(t) == NB_OK, "%s: %s", e->text, nb_message(t));
    nb_shape shape = nb_shape_make((size_t)e->out.rank, e->out.dim);
    shape.rank = e->out.rank ? shape.rank : -1;
    ck_assert_msg(nb_shape_equal(nb_shape_of(y), shape), "%s", e->text);
    nb_read(y, got, n_out);
    agree(e, "y", got, s.y, s.y_size, n_out, d);
    const double *seed[] = {g};
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seed}), NB_OK);
    for (int k = 0; k < e->n; k++) {
        nb_read_grad(in[k], got, size_of(&e->in[k]));
        agree(e, "dx", got, s.d[k], s.d_size[k], size_of(&e->in[k]), d);
    }
    nb_tape_free(t);
}

START_TEST(random_formulas)
{
    nb_rng r = nb_rng_seed(11);
    for (int i = 0; i < 3000; i++) {
        example e = make(&r);
        run_example(&e, NB_F64, &r);
        run_example(&e, NB_F32, &r);
    }
}
END_TEST

/* ---- by hand --------------------------------------------------------------------------------- */

static nb_var ramp(nb_tape *t, const char *name, nb_shape s)
{
    double x[64];
    for (int i = 0; i < 64; i++)
        x[i] = i + 1;
    return nb_tensor(t, name, s, x);
}

static void reads(nb_var y, size_t n, const double *expected)
{
    double got[64];
    ck_assert_msg(nb_ok(y), "%s", nb_message(y.tape));
    ck_assert_int_eq(nb_read(y, got, (int64_t)n), NB_OK);
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq(got[i], expected[i]);
}

START_TEST(by_hand)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = ramp(t, "a", NB_SHAPE(2, 3)), b = ramp(t, "b", NB_SHAPE(3, 2));
    nb_var s = ramp(t, "s", NB_SHAPE(2, 2)), v = ramp(t, "v", NB_SHAPE(2));
    nb_var w = ramp(t, "w", NB_SHAPE(2, 2, 2));
    reads(nb_einsum("ij,jk->ik", a, b), 4, (double[]){22, 28, 49, 64});
    reads(nb_einsum("ij,jk->ki", a, b), 4, (double[]){22, 49, 28, 64});
    reads(nb_einsum("ba", a), 6, (double[]){1, 4, 2, 5, 3, 6});
    reads(nb_einsum("ij->", a), 1, (double[]){21});
    reads(nb_einsum("ii", s), 1, (double[]){5});
    reads(nb_einsum("ii -> i", s), 2, (double[]){1, 4});
    reads(nb_einsum("iii->i", w), 2, (double[]){1, 8});
    reads(nb_einsum("i,i", v, v), 1, (double[]){5});
    reads(nb_einsum("i,j->ji", v, v), 4, (double[]){1, 2, 2, 4});
    reads(nb_einsum("i,ij,j->", v, s, v), 1, (double[]){27});
    reads(nb_einsum(",ij->ij", nb_num(2), s), 4, (double[]){2, 4, 6, 8});
    reads(nb_einsum("...,...", nb_input(t, "k", 3), v), 2, (double[]){3, 6});
    reads(nb_einsum("...ij,...j->...i", w, v), 4, (double[]){5, 11, 17, 23});
    ck_assert(!nb_is_tensor(nb_einsum("ij,ji->", a, b)));
    nb_var same = nb_einsum("ij->ij", a);
    reads(nb_name(same, "copy"), 6, (double[]){1, 2, 3, 4, 5, 6});
    ck_assert_str_eq(nb_inspect(a).name, "a");
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* A product with flags only: transposed operands are not copied. */
START_TEST(transposes_are_flags)
{
    static const char *const formula[] = {"ij,jk->ik", "ji,jk->ik", "ij,kj->ik",    "ji,kj->ik",
                                          "ij,jk->ki", "ji,kj->ki", "bij,bkj->bik", "bij,jk->bik"};
    nb_tape *t = nb_tape_new(NULL);
    nb_var s = ramp(t, "s", NB_SHAPE(3, 3)), b = ramp(t, "b", NB_SHAPE(2, 3, 3));
    for (size_t i = 0; i < sizeof formula / sizeof *formula; i++) {
        const size_t before = nb_count(t);
        nb_var x = i < 6 ? s : b, y = i == 7 ? s : x;
        ck_assert(nb_ok(nb_einsum(formula[i], x, y)));
        for (size_t k = before; k < nb_count(t); k++) {
            const char *op = nb_inspect(nb_node(t, k)).op;
            const bool view = i == 7 && !strcmp(op, "reshape");
            ck_assert_msg(view || !strcmp(op, "matmul"), "%s: %s", formula[i], op);
        }
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(trace_of_a_product)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = ramp(t, "a", NB_SHAPE(2, 3)), b = ramp(t, "b", NB_SHAPE(3, 2));
    nb_var c = ramp(t, "c", NB_SHAPE(2, 2, 3));
    nb_var y = nb_trace_product(a, b);
    double got[6];
    ck_assert(!nb_is_tensor(y));
    ck_assert_double_eq(nb_value(y), 86);
    ck_assert_int_eq(nb_backward(nb_mul(2, y)), NB_OK);
    nb_read_grad(a, got, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(got[i], 2 * (2 * (i % 3) + i / 3 + 1));
    reads(nb_trace_product(c, b), 2, (double[]){86, 212});
    ck_assert(!nb_ok(nb_trace_product(a, a)));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* The Hessian of x' A y by (x, y) is [0 A; A' 0]. */
START_TEST(second_order)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = ramp(t, "a", NB_SHAPE(2, 2));
    nb_var in[] = {ramp(t, "x", NB_SHAPE(2)), ramp(t, "y", NB_SHAPE(2))};
    double h[16];
    ck_assert_int_eq(nb_hessian(nb_einsum("i,ij,j", in[0], nb_detach(a), in[1]), 2, in, h), NB_OK);
    static const double expected[] = {0, 0, 1, 2, 0, 0, 3, 4, 1, 3, 0, 0, 2, 4, 0, 0};
    for (int i = 0; i < 16; i++)
        ck_assert_double_eq(h[i], expected[i]);
    nb_tape_free(t);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(nb_tape *t, nb_var y, nb_code code, const char *reason, const char *shown)
{
    ck_assert(!nb_ok(y));
    ck_assert_msg(nb_status(t) == code, "%s", nb_message(t));
    ck_assert_msg(strstr(nb_message(t), reason) != NULL, "%s", nb_message(t));
    ck_assert_msg(strstr(nb_message(t), shown) != NULL, "%s", nb_message(t));
    nb_clear(t);
}

START_TEST(what_is_refused)
{
    static const struct {
        const char *formula;
        nb_code code;
        const char *reason, *shown;
    } list[] = {
        {"ij,jk->iz", NB_ERR_ARGUMENT, "einsum: no operand has this letter",
         "\n    ij,jk->iz\n            ^"},
        {"ij,jk->ii", NB_ERR_ARGUMENT, "this letter twice", "\n    ij,jk->ii\n            ^"},
        {"ij,kl,mn", NB_ERR_ARGUMENT, "more groups than operands", "\n         ^"},
        {"ij", NB_ERR_ARGUMENT, "more operands than groups", "\n    ij\n      ^"},
        {"i.,jk", NB_ERR_ARGUMENT, "a dot stands alone", "\n     ^"},
        {"ij,.", NB_ERR_ARGUMENT, "a dot stands alone", "\n       ^"},
        {"......,jk", NB_ERR_ARGUMENT, "\"...\" twice", "\n       ^"},
        {"ij,j1->i", NB_ERR_ARGUMENT, "neither a letter", "\n        ^"},
        {"ij,jk-i", NB_ERR_ARGUMENT, "neither a letter", "\n         ^"},
        {"ij,jk->i,k", NB_ERR_ARGUMENT, "should end here", "\n            ^"},
        {"ij,jk->i->k", NB_ERR_ARGUMENT, "should end here", "\n            ^"},
        {"abcdefghi,jk", NB_ERR_ARGUMENT, "more letters", "\n            ^"},
        {"...j,jk->k", NB_ERR_ARGUMENT, "lacks the \"...\"", "\n             ^"},
        {"ijk,jk->i", NB_ERR_SHAPE, "no axis for this letter", "\n      ^"},
        {"ij,k->i", NB_ERR_SHAPE, "more axes than", "\n       ^"},
        {"ij,ik->j", NB_ERR_SHAPE, "another size than before", "\n       ^"},
        {"ii,jk", NB_ERR_SHAPE, "another size than before", "\n     ^"},
        {"...,...", NB_ERR_SHAPE, "do not broadcast", "\n        ^"},
    };
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = ramp(t, "a", NB_SHAPE(2, 3)), b = ramp(t, "b", NB_SHAPE(3, 2));
    nb_var deep = ramp(t, "deep", NB_SHAPE(1, 2, 1, 2, 1)), none = NB_NONE;
    const size_t count = nb_count(t);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        refused(t, nb_einsum(list[i].formula, a, b), list[i].code, list[i].reason, list[i].shown);
    refused(t, nb_einsum("ij,jk->iz", a, b), NB_ERR_ARGUMENT, "[2 3]", "\"b\"");
    refused(t, nb_einsum("abcde,fghij", deep, deep), NB_ERR_SHAPE, "more axes than a tensor", "[1");
    refused(t, nb_einsum("abcde,fghij,agcie->bdfhj", deep, deep, deep), NB_ERR_SHAPE,
            "a product on the way", "first 2 operands");
    refused(t, nb_einsum_of(NULL, 1, &a), NB_ERR_ARGUMENT, "formula is NULL", "");
    nb_var many[17];
    for (int i = 0; i < 17; i++)
        many[i] = a;
    refused(t, nb_einsum_of("ij", 17, many), NB_ERR_ARGUMENT, "more than 16", "");
    nb_tape *other = nb_tape_new(NULL);
    refused(t, nb_einsum("ij,jk", a, ramp(other, "far", NB_SHAPE(3, 2))), NB_ERR_HANDLE,
            "einsum: operand b is of another tape", "");
    nb_tape_free(other);
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert(!nb_ok(nb_einsum_of("ij", 1, &none)));
    ck_assert(!nb_ok(nb_einsum_of("ij", 1, NULL)));
    ck_assert(!nb_ok(nb_einsum_of("", 0, &a)));
    char far[512] = "";
    for (int i = 0; i < 100; i++)
        strcat(far, "  ij");
    refused(t, nb_einsum(far, a, b), NB_ERR_ARGUMENT, "more letters", "");
    memset(far, ' ', 200);
    strcpy(far + 200, "?");
    refused(t, nb_einsum(far, a, b), NB_ERR_ARGUMENT, "neither a letter", "at character 201");
    ck_assert_double_eq(nb_value(nb_einsum("ij,ji", a, b)), 86); /* the tape is usable */
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("einsum");
    tcase_add_test(c, random_formulas);
    tcase_add_test(c, by_hand);
    tcase_add_test(c, transposes_are_flags);
    tcase_add_test(c, trace_of_a_product);
    tcase_add_test(c, second_order);
    tcase_add_test(c, what_is_refused);
    return run_case("einsum", c);
}
