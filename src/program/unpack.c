/*
 * Reading a program from bytes; keep.c says what they hold.
 *
 * They are not trusted: whatever they count must fit into the bytes that are left before memory is
 * taken, nodes refer only to nodes before them, and the graph is rebuilt through nbi_dag_op. For a
 * program as it was saved, that gives every node the number it had: an operation in the graph is one
 * that nbi_dag_op could not simplify, its operands keep their order, and so do the nodes. What no
 * output and no guard needs is dropped.
 */
#include "program/keep.h"

#include "base/reason.h"

static const uint8_t magic[8] = NBI_KEEP_MAGIC;

/* ---- unpacking ------------------------------------------------------------------------------- */

typedef struct unpacker {
    const uint8_t *bytes;
    size_t size, at;
    nb_program *p;
    nb_reason *why;
    uint32_t n_in, n_out, n_codes, n_nodes, n_guards;
    uint32_t code[NBI_DAG_CODES]; /* of the operation names */
    uint32_t *number;             /* of the nodes, by place in the file */
} unpacker;

static bool bad(const unpacker *r, const char *what)
{
    nbi_because(r->why, NB_ERR_FORMAT, "load a program: byte %zu: %s", r->at, what);
    return false;
}

static bool no_memory(const unpacker *r)
{
    nbi_because(r->why, NB_ERR_MEMORY, "load a program: out of memory");
    return false;
}

static bool get(unpacker *r, size_t size, uint64_t *v)
{
    if (r->size - r->at < size)
        return bad(r, "the file ends too early");
    *v = 0;
    for (size_t k = 0; k < size; k++)
        *v |= (uint64_t)r->bytes[r->at + k] << 8 * k;
    r->at += size;
    return true;
}

static bool get32(unpacker *r, uint32_t *v)
{
    uint64_t wide;
    if (!get(r, 4, &wide))
        return false;
    *v = (uint32_t)wide;
    return true;
}

/* Whether so many items of a size can be in what is left. */
static bool can_hold(const unpacker *r, size_t count, size_t size)
{
    return count <= (r->size - r->at) / size || bad(r, "more is counted than the file holds");
}

/* Its length; the text itself, without a NUL at its end, goes to *text. */
static bool get_text(unpacker *r, uint32_t *length, const char **text)
{
    if (!get32(r, length) || !can_hold(r, *length, 1))
        return false;
    *text = (const char *)r->bytes + r->at;
    if (*length && memchr(*text, 0, *length))
        return bad(r, "a name with a zero byte");
    r->at += *length;
    return true;
}

static bool get_head(unpacker *r)
{
    uint32_t version, strict;
    uint64_t recorded, sum;
    if (r->size < sizeof magic || memcmp(r->bytes, magic, sizeof magic) != 0)
        return bad(r, "this is not a program's file");
    r->at = sizeof magic;
    if (!get32(r, &version))
        return false;
    if (version != NBI_KEEP_VERSION)
        return bad(r, "a version that this library does not know");
    if (r->size < r->at + NBI_KEEP_CHECKSUM)
        return bad(r, "the file ends too early");
    const size_t end = r->size - NBI_KEEP_CHECKSUM, here = r->at;
    r->at = end;
    if (!get(r, NBI_KEEP_CHECKSUM, &sum) || sum != nbi_program_checksum(r->bytes, end))
        return bad(r, "the checksum is wrong: the file is damaged");
    r->size = end;
    r->at = here;
    if (!get32(r, &strict) || !get(r, 8, &recorded))
        return false;
    if (strict > 1)
        return bad(r, "a flag that is not 0 or 1");
    r->p->strict = strict;
    r->p->recorded = (size_t)recorded;
    return get32(r, &r->n_in) && get32(r, &r->n_out) && get32(r, &r->n_codes) &&
           get32(r, &r->n_nodes) && get32(r, &r->n_guards);
}

static bool add_argument(unpacker *r, bool out, const char *name, uint32_t count, uint32_t flags)
{
    const bool vector = flags & NBI_KEEP_VECTOR;
    if (!(out ? nbi_program_add_out(r->p, name, count, flags & NBI_KEEP_SUM, vector)
              : nbi_program_add_in(r->p, name, count, flags & NBI_KEEP_SHARED, vector)))
        return count >= UINT32_MAX / 8 ? bad(r, "too many elements") : no_memory(r);
    return true;
}

static bool get_argument(unpacker *r, bool out)
{
    uint32_t count, flags, length;
    const char *text;
    if (!get32(r, &count) || !get32(r, &flags) || !get_text(r, &length, &text))
        return false;
    if (flags & ~(uint32_t)(NBI_KEEP_VECTOR | (out ? NBI_KEEP_SUM : NBI_KEEP_SHARED)))
        return bad(r, "flags that this library does not know");
    if (!(flags & NBI_KEEP_VECTOR) && count != 1)
        return bad(r, "an argument of several elements without an axis");
    if (out && !can_hold(r, r->p->out_elements + count, 4))
        return false;
    char *name = nbi_resize(&r->p->heap, NULL, 0, (size_t)length + 1);
    if (!name)
        return no_memory(r);
    memcpy(name, text, length);
    name[length] = 0;
    const bool done = add_argument(r, out, name, count, flags);
    nbi_resize(&r->p->heap, name, (size_t)length + 1, 0);
    return done;
}

static bool get_arguments(unpacker *r)
{
    enum { LEAST = 12 };
    bool done = can_hold(r, r->n_in, LEAST);
    for (uint32_t k = 0; done && k < r->n_in; k++)
        done = get_argument(r, false);
    done = done && can_hold(r, r->n_out, LEAST);
    for (uint32_t k = 0; done && k < r->n_out; k++)
        done = get_argument(r, true);
    return done;
}

static bool get_codes(unpacker *r)
{
    if (r->n_codes > NBI_DAG_CODES)
        return bad(r, "more operations than there are");
    for (uint32_t k = 0; k < r->n_codes; k++) {
        uint32_t length, c = 0;
        const char *text;
        if (!get_text(r, &length, &text))
            return false;
        while (c < NBI_DAG_CODES &&
               (strlen(nbi_dag_name(c)) != length || memcmp(nbi_dag_name(c), text, length) != 0))
            c++;
        if (c == NBI_DAG_CODES)
            return bad(r, "an operation that this library does not know");
        r->code[k] = c;
    }
    return true;
}

/* A node of the file, as a node of the program. */
static bool get_node(unpacker *r, uint32_t i)
{
    nbi_dag *d = &r->p->dag;
    uint32_t operation, in[3];
    if (!get32(r, &operation) || !get32(r, &in[0]) || !get32(r, &in[1]) || !get32(r, &in[2]))
        return false;
    if (operation >= r->n_codes)
        return bad(r, "an operation without a name");
    const uint32_t code = r->code[operation];
    const int arity = nbi_dag_arity(code);
    const uint64_t bits = (uint64_t)in[1] << 32 | in[0];
    double value;
    for (int k = code == NBI_DAG_CONSTANT ? 2 : code == NBI_DAG_INPUT ? 1 : arity; k < 3; k++)
        if (in[k])
            return bad(r, "an operand too many");
    for (int k = 0; k < arity; k++) {
        if (in[k] >= i)
            return bad(r, "an operand that does not come before its operation");
        in[k] = r->number[in[k]];
    }
    if (code == NBI_DAG_INPUT && in[0] >= r->p->in_elements)
        return bad(r, "an input that the arguments do not have");
    memcpy(&value, &bits, sizeof value);
    r->number[i] = code == NBI_DAG_INPUT      ? nbi_dag_input(d, in[0])
                   : code == NBI_DAG_CONSTANT ? nbi_dag_constant(d, value)
                                              : nbi_dag_op(d, code, in[0], in[1], in[2]);
    return r->number[i] != NBI_DAG_NONE || no_memory(r);
}

static bool get_reference(unpacker *r, uint32_t *node)
{
    uint32_t i;
    if (!get32(r, &i))
        return false;
    if (i >= r->n_nodes)
        return bad(r, "a result or guard that is no node");
    *node = r->number[i];
    return true;
}

static bool get_graph(unpacker *r)
{
    nb_program *p = r->p;
    bool done = true;
    if (!nbi_dag_reserve(&p->dag, r->n_nodes))
        return no_memory(r);
    for (uint32_t i = 0; done && i < r->n_nodes; i++)
        done = get_node(r, i);
    for (size_t k = 0; done && k < p->out_elements; k++)
        done = get_reference(r, &p->result[k]);
    for (uint32_t k = 0; done && k < r->n_guards; k++) {
        uint32_t node;
        done = get_reference(r, &node) && (nbi_program_add_guard(p, node) || no_memory(r));
    }
    if (done && r->at != r->size)
        return bad(r, "bytes after the end");
    return done && (nbi_program_prune(p) || no_memory(r));
}

nb_program *nbi_program_unpack(const uint8_t *bytes, size_t size, const nb_allocator *a,
                               nb_reason *why)
{
    unpacker r = {.bytes = bytes, .size = size, .why = why, .p = nbi_program_new(a)};
    if (!r.p) {
        no_memory(&r);
        return NULL;
    }
    bool done = get_head(&r) && get_arguments(&r) && get_codes(&r) &&
                can_hold(&r, r.n_nodes, NBI_KEEP_NODE);
    if (done && r.n_nodes) {
        r.number = nbi_resize(&r.p->heap, NULL, 0, r.n_nodes * sizeof *r.number);
        done = r.number || no_memory(&r);
    }
    done = done && get_graph(&r);
    nbi_resize(&r.p->heap, r.number, r.number ? r.n_nodes * sizeof *r.number : 0, 0);
    if (done)
        return r.p;
    nb_program_free(r.p);
    return NULL;
}
