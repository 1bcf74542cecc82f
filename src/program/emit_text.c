/*
 * The words of printed C: numbers, names, what rows are called, functions that libm lacks.
 *
 * A primitive's body in the table says which operator or function it is: here it is expanded to that
 * name. A heavy row of float programs, and cbrt, which corrects libm's, becomes a function of its own,
 * its body expanded from the table; the gamma family is printed as it stands in table/special.c.
 */
#include "program/emit.h"

#include "ops/elementwise.h"
#include <ctype.h>
#include <math.h>

#include "emit_text.inc"

/* ---- what rows are --------------------------------------------------------------------------- */

typedef struct word {
    const char *operator, * function;
} word;

#include "table/operations.h"
#define NBI_OP1(name, a) \
    {                    \
        0                \
    }
#define NBI_OP2(name, a, b) \
    {                       \
        0                   \
    }
#define NBI_OP3(name, a, b, c) \
    {                          \
        0                      \
    }
#define LET(name, expression)
#define RETURN(expression) expression
#define SELECT(c, a, b) \
    {                   \
        0               \
    }
#define CALL1(f, a)    \
    {                  \
        .function = #f \
    }
#define CALL2(f, a, b) \
    {                  \
        .function = #f \
    }
#define CALL3(f, a, b, c) \
    {                     \
        .function = #f    \
    }
#define INFIX(a, op, b) \
    {                   \
        .operator= #op  \
    }
#define PREFIX(op, a)  \
    {                  \
        .operator= #op \
    }
#define UNARY(name, weight, k, a, b, text, value, dx)            [NBI_ROW_##name] = value,
#define BINARY(name, weight, k, a, b, c, d, text, value, dx, dy) [NBI_ROW_##name] = value,
#define TERNARY(name, weight, k, a, b, c, d, e, f, text, value, dx, dy, dz) \
    [NBI_ROW_##name] = value,
#define TEST(name, text, value) [NBI_ROW_##name] = value,
static const word words[NBI_ROWS] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
#include "table/operations.h"

const char *nbi_emit_operator(uint32_t row) { return words[row].operator; }

bool nbi_emit_is_call(uint32_t row)
{
    return !words[row].operator&& row != NBI_ROW_where && row != NBI_ROW_chain &&
            row != NBI_ROW_recip;
}

const char *nbi_emit_real(nb_dtype dtype) { return dtype == NB_F64 ? "double" : "float"; }

bool nbi_emit_call(const nbi_printer *w, uint32_t row)
{
    const bool wide = w->dtype == NB_F32 && nbi_dag_weight(row) == NBI_HEAVY;
    const char *f = words[row].function;
    if (wide)
        fputs("(float)", w->to);
    if (f)
        fprintf(w->to, "%s%s", f, w->dtype == NB_F32 && !wide ? "f" : "");
    else
        fprintf(w->to, "%s_%s", w->name, nbi_dag_name(row));
    return wide;
}

/* ---- numbers --------------------------------------------------------------------------------- */

void nbi_emit_number(FILE *to, nb_dtype dtype, double v)
{
    char text[NBI_NUMBER];
    if (dtype == NB_F32)
        v = (double)(float)v;
    if (!isfinite(v)) {
        fprintf(to, "(%s(%s)%s)", signbit(v) ? "-" : "", nbi_emit_real(dtype),
                isnan(v) ? "NAN" : "INFINITY");
        return;
    }
    nbi_print_number(text, dtype, v);
    const bool whole = !strpbrk(text, ".e");
    fprintf(to, signbit(v) ? "(%s%s%s)" : "%s%s%s", text, whole ? ".0" : "",
            dtype == NB_F64 ? "" : "f");
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Words of C and C++ that could be a name, and names that every printed file defines. */
static const char *const taken[] = {
    "alignas",   "alignof",  "and",      "asm",      "auto",     "bool",    "break",     "case",
    "catch",     "char",     "class",    "const",    "continue", "default", "delete",    "do",
    "double",    "else",     "enum",     "explicit", "export",   "extern",  "false",     "float",
    "for",       "friend",   "goto",     "if",       "inline",   "int",     "long",      "mutable",
    "namespace", "new",      "not",      "operator", "or",       "private", "protected", "public",
    "register",  "requires", "restrict", "return",   "short",    "signed",  "sizeof",    "static",
    "struct",    "switch",   "template", "this",     "throw",    "true",    "try",       "typedef",
    "typeid",    "typename", "union",    "unsigned", "using",    "virtual", "void",      "volatile",
    "while",     "xor",      "k",        "l",        "lanes",    "lane",    "left",      "size_t",
    "int64_t",   "main",     "NAN",      "INFINITY", "gamma",    "tgamma",  "lgamma",    "lgamma_r",
    "copysign",  "isnan",    "isinf",    "isfinite", "y0",       "y1",      "yn",        "j0",
    "j1",        "jn",       "memcpy"};

/* What names in a function's body begin with, but for v12 and m12. */
static const char *const local[] = {"nbi_", "row_", "in_", "out_", "sum_", "part_", "one_"};

bool nbi_emit_is_free(const char *name)
{
    size_t digits = strspn(name + !!*name, "0123456789");
    bool free = (isalpha((unsigned char)*name) || *name == '_');
    for (const char *c = name; *c; c++)
        free = free && (isalnum((unsigned char)*c) || *c == '_');
    for (size_t k = 0; k < sizeof taken / sizeof *taken; k++)
        free = free && strcmp(name, taken[k]) != 0;
    for (uint32_t r = 0; r < NBI_ROWS; r++) {
        const char *f = words[r].function;
        const size_t n = f ? strlen(f) : 0;
        free = free && !(f && !strncmp(name, f, n) && strspn(name + n, "fl") == strlen(name + n));
    }
    for (size_t k = 0; k < sizeof local / sizeof *local; k++)
        free = free && strncmp(name, local[k], strlen(local[k])) != 0;
    free = free && !(isupper((unsigned char)*name) && nbi_emit_occurs(name)); /* macros */
    const size_t length = strlen(name);
    free = free && !(length > 3 && !strcmp(name + length - 3, "_at"));
    return free && !(strchr("vm", *name) && digits && !name[1 + digits]);
}

static void choose_name(const char *given, char letter, size_t number, char *to)
{
    if (!*given)
        snprintf(to, NBI_EMIT_NAME, "%c%zu", letter, number);
    else
        snprintf(to, NBI_EMIT_LONGEST - 20, "%s%s", isdigit((unsigned char)*given) ? "_" : "",
                 given);
    for (char *c = to; *c; c++)
        *c = (char)(isalnum((unsigned char)*c) && !((unsigned char)*c & 0x80) ? *c : '_');
}

static bool is_among(const char *name, char (*list)[NBI_EMIT_NAME], size_t n)
{
    bool found = false;
    for (size_t k = 0; k < n; k++)
        found = found || !strcmp(name, list[k]);
    return found;
}

bool nbi_emit_names(nbi_heap *h, const nbi_argument *a, size_t n, char letter,
                    char (*other)[NBI_EMIT_NAME], size_t n_other, char (**names)[NBI_EMIT_NAME])
{
    char(*list)[NBI_EMIT_NAME] = nbi_resize(h, NULL, 0, n * sizeof *list);
    *names = list;
    if (!list)
        return n == 0;
    for (size_t k = 0; k < n; k++) {
        choose_name(a[k].name, letter, k, list[k]);
        for (size_t tries = 1; (!nbi_emit_is_free(list[k]) || is_among(list[k], list, k) ||
                                is_among(list[k], other, n_other));
             tries++) {
            const size_t length = strlen(list[k]);
            if (tries < 3)
                memcpy(list[k] + length, "_", 2);
            else
                snprintf(list[k], NBI_EMIT_NAME, "%c%zu_%zu", letter, k, tries);
        }
    }
    return true;
}

/* ---- functions that libm lacks --------------------------------------------------------------- */

static bool is_letter(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void print_lines(FILE *to, const char *const *lines)
{
    for (; *lines; lines++)
        fputs(*lines, to);
}

/* Files of lane functions; each needs the first two. */
static const char *const *const lane_files[] = {lanes_vector, lanes_vmath_f64, lanes_vmath_circular,
                                                lanes_vmath_hyperbolic, lanes_vmath_power};
enum { LANE_FILES = sizeof lane_files / sizeof *lane_files };

/* Whether a text defines the name: in a line that begins at the margin, the name stands before what may
 * follow one that is defined. */
static bool defines(const char *const *lines, const char *name)
{
    const size_t n = strlen(name);
    for (; *lines; lines++)
        for (const char *at = *lines; **lines != ' ' && n && (at = strstr(at, name)); at += n) {
            const char *next = at[n] == ' ' ? at + n + 1 : at + n;
            const bool macro = !strncmp(*lines, "#define ", 8) && at == *lines + 8;
            if (at > *lines && !is_letter(at[-1]) && !is_letter(at[n]) &&
                (macro || (*next && strchr("([=;", *next))))
                return true;
        }
    return false;
}

bool nbi_emit_occurs(const char *name)
{
    bool found = defines(special_lgamma, name) || defines(special_digamma, name) ||
                 defines(special_polygamma, name);
    for (int k = 0; k < LANE_FILES; k++)
        found = found || defines(lane_files[k], name);
    return found;
}

int nbi_emit_lane_file(uint32_t row, char *function)
{
    const char *f = words[row].function ? words[row].function : nbi_dag_name(row);
    snprintf(function, NBI_EMIT_NAME, "%s_lane", f);
    for (int k = 1; k < LANE_FILES; k++)
        if (defines(lane_files[k], function))
            return k;
    return 0;
}

void nbi_emit_lane_functions(const nbi_emission *e)
{
    char function[NBI_EMIT_NAME];
    bool wanted[LANE_FILES] = {false};
    for (uint32_t row = 0; row < NBI_ROWS; row++)
        if (e->lane_calls[row])
            wanted[nbi_emit_lane_file(row, function)] = true;
    bool any = false;
    for (int k = 1; k < LANE_FILES; k++)
        any = any || wanted[k];
    if (!any)
        return;
    wanted[0] = wanted[1] = true;
    for (int k = 0; k < LANE_FILES; k++)
        if (wanted[k])
            print_lines(e->to, lane_files[k]);
}

/* A row's body as a function: a graph of its operands, and of what the C function of its name gives. */
static bool print_body(const nbi_emission *e, uint32_t row)
{
    static const char *const operands[] = {"x", "y", "z"};
    const uint32_t arity = (uint32_t)nbi_dag_arity(row);
    nbi_dag d;
    uint32_t in[4];
    nbi_dag_open(&d, e->heap);
    d.expand = NBI_LIGHT | NBI_HEAVY;
    for (uint32_t k = 0; k <= arity; k++)
        in[k] = nbi_dag_input(&d, k);
    const uint32_t result = nbi_dag_body(&d, row, in, in[arity]);
    uint8_t *need = d.failed ? NULL : nbi_resize(e->heap, NULL, 0, d.count);
    if (need) {
        const nbi_printer w = {.to = e->to,
                               .name = e->options.name,
                               .dtype = NB_F64,
                               .d = &d,
                               .need = need,
                               .indent = "    "};
        memset(need, 0, d.count);
        need[result] = NBI_AS_VALUE;
        nbi_emit_spread_need(&d, need);
        fprintf(e->to, "\nstatic double %s_%s(", e->options.name, nbi_dag_name(row));
        for (uint32_t k = 0; k < arity; k++)
            fprintf(e->to, "%sdouble %s", k ? ", " : "", operands[k]);
        fputs(")\n{\n", e->to);
        for (uint32_t k = 0; k < arity; k++)
            fprintf(e->to, "    const double v%u = %s;\n", in[k], operands[k]);
        if (need[in[arity]])
            fprintf(e->to, "    const double v%u = %s(%s);\n", in[arity], nbi_dag_name(row), "x");
        for (uint32_t i = arity + 1; i < d.count; i++)
            nbi_emit_node(&w, i);
        fputs("    return ", e->to);
        nbi_emit_value(&w, result);
        fputs(";\n}\n", e->to);
    }
    nbi_resize(e->heap, need, need ? d.count : 0, 0);
    nbi_dag_close(&d);
    return need != NULL;
}

bool nbi_emit_helpers(const nbi_emission *e)
{
    const bool poly = e->calls[NBI_ROW_polygamma];
    bool done = true;
    if (e->calls[NBI_ROW_lgamma] || poly)
        print_lines(e->to, special_lgamma);
    if (e->calls[NBI_ROW_digamma] || poly)
        print_lines(e->to, special_digamma);
    if (poly)
        print_lines(e->to, special_polygamma);
    for (uint32_t row = 0; done && row < NBI_ROWS; row++)
        if (e->calls[row] && !words[row].function)
            done = print_body(e, row);
    return done;
}
