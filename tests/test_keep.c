/*
 * Programs as text and as files: what is loaded is what was saved, to the last node; damaged and hostile
 * files are refused with a reason, whatever in them is wrong; so are places that cannot be written.
 */
#include "error_is.h"
#include "program.h"

#include "ops/elementwise.h"
#include "program/keep.h"

#include <errno.h>
#include <unistd.h>

/* ---- programs -------------------------------------------------------------------------------- */

/* Inputs lane by lane and shared, a sum, a guard, constants at the edges, strange names. */
static nb_program *mixture(bool strict)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[3] = {nb_input(t, "x", 1), nb_input(t, "x", 2), nb_input(t, "x", 3)};
    nb_var w = nb_input(t, "w", 0.5);
    ck_assert(nb_guard(nb_gt(x[0], 0)));
    nb_var s = nb_tanh(nb_mul(w, nb_sub(nb_log(x[0]), nb_sin(x[1]))));
    nb_var far = nb_where(nb_gt(x[2], 1e300), -INFINITY, nb_pow(nb_abs(x[2]), 0.1));
    nb_var out[2] = {nb_add(s, nb_mul(far, 5e-324)), nb_fma(s, x[1], nb_powi(x[2], 3))};
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = 2,
        .in = (nb_argument[]){{.name = "x", .count = 3, .var = x},
                              {.name = "a \"w\"\n", .count = 1, .var = &w, .shared = true}},
        .n_out = 2,
        .out = (nb_argument[]){{.name = "f", .count = 2, .var = out},
                               {.count = 1, .var = &s, .sum = true, .vector = true}},
        .strict = strict});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

static char *text_of(const nb_program *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    ck_assert(f && nb_program_print(f, p) == NB_OK);
    fclose(f);
    return text;
}

static uint8_t *packed(const nb_program *p, size_t *size)
{
    nbi_heap h;
    nbi_heap_init(&h, &(nb_allocator){0}, 0);
    uint8_t *own = nbi_program_pack(p, &h, size);
    ck_assert(own != NULL);
    uint8_t *bytes = malloc(*size); /* exactly: what is read beyond is found out */
    ck_assert(bytes != NULL);
    memcpy(bytes, own, *size);
    nbi_resize(&h, own, *size, 0);
    return bytes;
}

/* ---- text ------------------------------------------------------------------------------------ */

START_TEST(prints)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[2] = {nb_input(t, "x", 1), nb_input(t, "x", 1)}, w = nb_input(t, "w", 1);
    ck_assert(nb_guard(nb_gt(w, 0)));
    nb_var y = nb_mul(nb_add(x[1], 0.1), w), z = nb_sin(x[0]);
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = 2,
        .in = (nb_argument[]){{.name = "x", .count = 2, .var = x}, {"w", 1, &w, .shared = true}},
        .n_out = 2,
        .out = (nb_argument[]){{"the y\n", 1, &y, .sum = true},
                               {.name = "z", .count = 1, .var = &z}}});
    char *text = text_of(p);
    ck_assert_str_eq(text, "in x[2]\n"
                           "in w shared\n"
                           "%0 = input x[0]\n"
                           "%1 = input x[1]\n"
                           "%2 = input w\n"
                           "%3 = constant 0\n"
                           "%4 = gt %2 %3\n"
                           "%5 = constant 0.1\n"
                           "%6 = add %1 %5\n"
                           "%7 = mul %2 %6\n"
                           "%8 = sin %0\n"
                           "guard %4\n"
                           "out \"the y?\" = %7 sum\n"
                           "out z = %8\n");
    free(text);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        ck_assert_int_eq(nb_program_print(full, p), NB_ERR_FILE);
        fclose(full);
    }
    ck_assert_int_eq(nb_program_print(NULL, p), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_program_print(stdout, NULL), NB_ERR_ARGUMENT);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- what was saved is what is loaded -------------------------------------------------------- */

static void same_program(const nb_program *a, const nb_program *b)
{
    size_t size_a, size_b;
    char *text_a = text_of(a), *text_b = text_of(b);
    ck_assert_str_eq(text_a, text_b);
    free(text_a);
    free(text_b);
    uint8_t *bytes_a = packed(a, &size_a), *bytes_b = packed(b, &size_b);
    ck_assert(size_a == size_b && !memcmp(bytes_a, bytes_b, size_a));
    free(bytes_a);
    free(bytes_b);
    ck_assert_uint_eq(a->dag.count, b->dag.count);
    ck_assert(!memcmp(a->dag.node, b->dag.node, a->dag.count * sizeof *a->dag.node));
    ck_assert(!memcmp(a->result, b->result, a->out_elements * sizeof *a->result));
    const nb_program_info i = nb_program_inspect(a), j = nb_program_inspect(b);
    ck_assert(i.recorded == j.recorded && i.ops == j.ops && i.instructions == j.instructions &&
              i.once == j.once && i.slots == j.slots && i.guards == j.guards);
    for (size_t k = 0; k < i.n_in; k++)
        ck_assert_int_eq(nb_program_in(a, k).vector, nb_program_in(b, k).vector);
    for (size_t k = 0; k < i.n_out; k++)
        ck_assert_int_eq(nb_program_out(a, k).vector, nb_program_out(b, k).vector);
    ck_assert_int_eq(a->strict, b->strict);
}

static void keeps(const nb_program *p, const char *path)
{
    nb_reason why = {""};
    ck_assert_msg(nb_program_save(p, path, &why) == NB_OK, "%s", why.text);
    nb_program *q = nb_program_load(path, NULL, &why);
    ck_assert_msg(q != NULL, "%s", why.text);
    same_program(p, q);
    nb_program_free(q);
}

static char folder[] = "/tmp/nabla_keep_XXXXXX";
static char path[64];

static void make_folder(void)
{
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    ck_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/p.nbp", folder);
}

static void drop_folder(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing is left beside the file */
}

START_TEST(round_trip)
{
    nb_reason why = {""};
    for (int strict = 0; strict < 2; strict++) {
        nb_program *p = mixture(strict), *j = nb_program_jacobian(p, NULL, &why);
        nb_program *v = nb_program_vjp(j, NULL, &why);
        ck_assert_msg(v != NULL, "%s", why.text);
        keeps(p, path);
        keeps(j, path);
        keeps(v, path);
        nb_program_free(v);
        nb_program_free(j);
        nb_program_free(p);
    }
}
END_TEST

static nb_var row_of(const nb_var *x, int which) { return nbi_row_call((enum nbi_row)which, x); }

START_TEST(every_row)
{
    nb_reason why = {""};
    for (int row = 0; row < NBI_ROWS; row++) {
        const nbi_row_info *info = &nbi_rows[row];
        double at[3];
        for (int k = 0; k < info->arity; k++)
            at[k] = info->range[2 * k];
        nb_program *p = program_freeze(row_of, row, (size_t)info->arity, at, false);
        nb_program *g = nb_program_gradient(p, NULL, &why);
        ck_assert_msg(g != NULL, "%s", why.text);
        keeps(g, path);
        nb_program_free(g);
        nb_program_free(p);
    }
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

static void seal(uint8_t *bytes, size_t size)
{
    const uint64_t sum = nbi_program_checksum(bytes, size - 8);
    for (int k = 0; k < 8; k++)
        bytes[size - 8 + (size_t)k] = (uint8_t)(sum >> 8 * k);
}

static void refuses(const uint8_t *bytes, size_t size, const char *part)
{
    nb_reason why = {""};
    nb_program *p = nbi_program_unpack(bytes, size, NULL, &why);
    ck_assert_msg(!p && strstr(why.text, part), "no \"%s\" in: %s", part, p ? "" : why.text);
}

START_TEST(refuses_damage)
{
    size_t size;
    nb_program *p = mixture(false);
    uint8_t *bytes = packed(p, &size);
    for (size_t n = 0; n < size; n++) { /* cut short */
        uint8_t *part = malloc(n + 1);
        ck_assert(part != NULL);
        memcpy(part, bytes, n);
        refuses(part, n, "load a program: byte ");
        free(part);
    }
    for (size_t n = 0; n < size; n++) /* one bit */
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[n] ^= (uint8_t)(1 << bit);
            refuses(bytes, size, n < 8 ? "not a program" : n < 12 ? "version" : "checksum");
            bytes[n] ^= (uint8_t)(1 << bit);
        }
    free(bytes);
    nb_program_free(p);
}
END_TEST

typedef struct change {
    size_t at;
    uint32_t to;
    const char *part;
} change;

/* One number after the other, the checksum put right: x is the only input, y = sin x the output. */
START_TEST(refuses_hostile)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y = nb_sin(x);
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &(nb_argument){.name = "x", .count = 1, .var = &x},
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = 1, .var = &y}});
    size_t size;
    uint8_t *bytes = packed(p, &size);
    ck_assert_uint_eq(size, 130);
    static const change changes[] = {
        {12, 2, "flag that is not 0 or 1"},
        {24, 0x7fffffff, "more is counted"},
        {28, 0xffffffff, "more is counted"},
        {32, 1000, "more operations than there are"},
        {36, 0xffffffff, "more is counted"},
        {36, 3, "more is counted"},
        {40, 1, "ends too early"},
        {44, 2, "without an axis"},
        {48, 2, "flags"},
        {52, 0xffffffff, "more is counted"},
        {61, 1, "flags"},
        {57, 0xffffffff, "without an axis"},
        {70, 100, "more is counted"},
        {74, 0, "a name with a zero byte"},
        {74, 0x74757071, "operation that"},
        {86, 7, "without a name"},
        {90, 1, "an input that"},
        {94, 1, "an operand too many"},
        {106, 1, "does not come before"},
        {106, 0xffffffff, "does not come before"},
        {110, 1, "an operand too many"},
        {118, 2, "a result or guard that is no node"},
    };
    for (size_t k = 0; k < sizeof changes / sizeof *changes; k++) {
        uint8_t copy[130];
        memcpy(copy, bytes, size);
        for (int b = 0; b < 4; b++)
            copy[changes[k].at + (size_t)b] = (uint8_t)(changes[k].to >> 8 * b);
        seal(copy, size);
        refuses(copy, size, changes[k].part);
    }
    bytes = realloc(bytes, size + 4);
    ck_assert(bytes != NULL);
    memset(bytes + size - 8, 0, 4);
    seal(bytes, size + 4);
    refuses(bytes, size + 4, "bytes after the end");
    free(bytes);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* Mutations with the checksum put right get deep. Whatever is accepted is a program: it prints, packs to
 * what unpacks again, and differentiates. */
START_TEST(survives_mutations)
{
    nb_rng rng = nb_rng_seed(5);
    size_t size, accepted = 0;
    nb_program *p = mixture(false);
    uint8_t *bytes = packed(p, &size), *copy = malloc(size);
    ck_assert(copy != NULL);
    for (int round = 0; round < 20000; round++) {
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        nb_reason why = {""};
        memcpy(copy, bytes, size);
        for (int n = 1 + round % 3; n > 0; n--) {
            const size_t at = 8 + nb_rng_bits(&rng) % (size - 16);
            const uint64_t v = nb_rng_bits(&rng);
            const uint64_t byte = v % 3 == 0  ? copy[at] ^ 1U << v / 3 % 8
                                  : v / 3 % 5 ? v >> 32
                                              : 255;
            copy[at] = (uint8_t)byte;
        }
        if (round % 16)
            seal(copy, size);
        nb_program *q = nbi_program_unpack(copy, size, &a, &why);
        if (q) {
            accepted++;
            char *text = text_of(q);
            size_t again;
            uint8_t *b = packed(q, &again);
            nb_program *r = nbi_program_unpack(b, again, NULL, &why);
            ck_assert_msg(r != NULL, "%s", why.text);
            if (r->in_elements < 100) /* a matrix of millions takes its time */
                nb_program_free(nb_program_jacobian(r, NULL, NULL));
            nb_program_free(r);
            free(b);
            free(text);
        } else if (!why.text[0]) {
            ck_abort_msg("refused without a reason");
        }
        nb_program_free(q);
        if (c.blocks || c.peak > 100 * size)
            ck_abort_msg("%zu blocks left, %zu bytes at most", c.blocks, c.peak);
    }
    ck_assert_msg(accepted > 500 && accepted < 15000, "%zu were accepted", accepted);
    free(copy);
    free(bytes);
    nb_program_free(p);
}
END_TEST

/* ---- memory and disks ------------------------------------------------------------------------ */

START_TEST(out_of_memory)
{
    size_t size;
    nb_program *p = mixture(false);
    uint8_t *bytes = packed(p, &size);
    for (size_t k = 1;; k++) {
        counting c = {.refuse = k};
        const nb_allocator a = counting_allocator(&c);
        nb_reason why = {""};
        nb_program *q = nbi_program_unpack(bytes, size, &a, &why);
        if (!c.refusals) {
            ck_assert(q != NULL && k > 10);
            nb_program_free(q);
            break;
        }
        ck_assert_msg(!q && !c.blocks, "%zu blocks are left", c.blocks);
        ck_assert_msg(strstr(why.text, "out of memory") != NULL, "%s", why.text);
    }
    free(bytes);
    nb_program_free(p);
}
END_TEST

START_TEST(refuses_places)
{
    nb_reason why = {""};
    nb_program *p = mixture(false);
    ck_assert_int_eq(nb_program_save(NULL, path, &why), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_program_save(p, NULL, &why), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_program_save(p, folder, &why), NB_ERR_FILE);
    ck_assert_msg(strstr(why.text, "not a regular file") != NULL, "%s", why.text);
    ck_assert_int_eq(nb_program_save(p, "/nowhere/at/all", &why), NB_ERR_FILE);
    ck_assert_msg(strstr(why.text, "/nowhere/at/all") != NULL, "%s", why.text);
    ck_assert_int_eq(nb_program_save(p, "/nowhere/at/all", NULL), NB_ERR_FILE);
    ck_assert(!nb_program_load(path, NULL, &why));
    ck_assert_msg(strstr(why.text, strerror(ENOENT)) != NULL, "%s", why.text);
    ck_assert(!nb_program_load(NULL, NULL, &why) && strstr(why.text, "NULL"));
    ck_assert(!nb_program_load(folder, NULL, &why) && strstr(why.text, "not a regular file"));
    nb_program_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("keep");
    tcase_add_checked_fixture(c, make_folder, drop_folder);
    tcase_add_test(c, prints);
    tcase_add_test(c, round_trip);
    tcase_add_test(c, every_row);
    tcase_add_test(c, refuses_damage);
    tcase_add_test(c, refuses_hostile);
    tcase_add_test(c, survives_mutations);
    tcase_add_test(c, out_of_memory);
    tcase_add_test(c, refuses_places);
    tcase_set_timeout(c, 60);
    return run_case("keep", c);
}
