/*
 * Keeping a program in a file.
 *
 * All numbers are little-endian, u32 unless said:
 *
 *     magic               8 bytes
 *     version             1
 *     strict              0 or 1
 *     recorded            u64
 *     inputs, outputs, operation names, nodes, guards: how many of each
 *     inputs, outputs     each: elements, flags, the length of the name, the name
 *     operation names     each: its length, the name
 *     nodes               each 16 bytes: which operation name, then three operands: nodes before this
 *                         one; for an input its place; for a constant a double; what is unused is 0
 *     results             a node for each element of the outputs
 *     guards              a node each
 *     checksum            u64, of all bytes before it
 *
 * Operations go by their names, since their numbers change as the table grows. Reading is unpack.c's.
 */
#include "program/keep.h"

#include "base/atomic.h"
#include "base/reason.h"

#include <errno.h>
#include <sys/stat.h>

static const uint8_t magic[8] = NBI_KEEP_MAGIC;

/* FNV-1a */
uint64_t nbi_program_checksum(const uint8_t *bytes, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Where the next byte goes; with `at` NULL bytes are only counted. */
typedef struct packer {
    uint8_t *at;
    size_t size;
} packer;

static void put_bytes(packer *w, const void *bytes, size_t size)
{
    if (w->at && size)
        memcpy(w->at + w->size, bytes, size);
    w->size += size;
}

static void put(packer *w, uint64_t v, size_t size)
{
    uint8_t b[8];
    for (size_t k = 0; k < size; k++)
        b[k] = (uint8_t)(v >> 8 * k);
    put_bytes(w, b, size);
}

static void put32(packer *w, size_t v) { put(w, v, 4); }

static void put_text(packer *w, const char *text)
{
    put32(w, strlen(text));
    put_bytes(w, text, strlen(text));
}

static void put_arguments(packer *w, const nbi_argument *a, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        put32(w, a[k].count);
        put32(w, (a[k].shared ? NBI_KEEP_SHARED : 0) | (a[k].sum ? NBI_KEEP_SUM : 0) |
                     (a[k].vector ? NBI_KEEP_VECTOR : 0));
        put_text(w, a[k].name);
    }
}

/* Numbers the operations that occur, in the order in which they do, and returns how many. */
static size_t number_codes(const nbi_dag *d, uint32_t *number, uint32_t *code)
{
    size_t n = 0;
    memset(number, 0xff, NBI_DAG_CODES * sizeof *number);
    for (size_t i = 0; i < d->count; i++)
        if (number[d->node[i].code] == UINT32_MAX) {
            code[n] = d->node[i].code;
            number[d->node[i].code] = (uint32_t)n++;
        }
    return n;
}

static void put_node(packer *w, const nbi_dag *d, uint32_t i, uint32_t operation)
{
    const nbi_dag_node *n = &d->node[i];
    const int arity = nbi_dag_arity(n->code);
    uint64_t bits;
    put32(w, operation);
    if (n->code == NBI_DAG_CONSTANT) {
        memcpy(&bits, n->in, sizeof bits);
        put(w, bits, 8);
        put32(w, 0);
        return;
    }
    for (int k = 0; k < 3; k++)
        put32(w, k < arity || n->code == NBI_DAG_INPUT ? n->in[k] : 0);
}

static void pack(packer *w, const nb_program *p)
{
    uint32_t number[NBI_DAG_CODES], code[NBI_DAG_CODES];
    const size_t codes = number_codes(&p->dag, number, code);
    put_bytes(w, magic, sizeof magic);
    put32(w, NBI_KEEP_VERSION);
    put32(w, p->strict);
    put(w, p->recorded, 8);
    const size_t counts[] = {p->n_in, p->n_out, codes, p->dag.count, p->n_guards};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        put32(w, counts[k]);
    put_arguments(w, p->in, p->n_in);
    put_arguments(w, p->out, p->n_out);
    for (size_t k = 0; k < codes; k++)
        put_text(w, nbi_dag_name(code[k]));
    for (uint32_t i = 0; i < p->dag.count; i++)
        put_node(w, &p->dag, i, number[p->dag.node[i].code]);
    for (size_t k = 0; k < p->out_elements; k++)
        put32(w, p->result[k]);
    for (size_t k = 0; k < p->n_guards; k++)
        put32(w, p->guard[k]);
    put(w, w->at ? nbi_program_checksum(w->at, w->size) : 0, NBI_KEEP_CHECKSUM);
}

uint8_t *nbi_program_pack(const nb_program *p, nbi_heap *h, size_t *size)
{
    packer w = {0};
    pack(&w, p);
    *size = w.size;
    w = (packer){.at = nbi_resize(h, NULL, 0, *size)};
    if (w.at)
        pack(&w, p);
    return w.at;
}

/* ---- files ----------------------------------------------------------------------------------- */

nb_code nb_program_save(const nb_program *p, const char *path, nb_reason *why)
{
    if (!p || !path)
        return nbi_because(why, NB_ERR_ARGUMENT, "save a program: no program, or no path");
    nbi_heap h;
    nbi_heap_init(&h, &p->heap.allocator, 0);
    nb_piece whole;
    uint8_t *bytes = nbi_program_pack(p, &h, &whole.size);
    if (!bytes)
        return nbi_because(why, NB_ERR_MEMORY, "save a program: out of memory");
    whole.data = bytes;
    const nb_code code = nbi_write_atomic(&nbi_real_disk, path, 1, &whole, why);
    nbi_resize(&h, bytes, whole.size, 0);
    return code;
}

/* The contents of a file that is not empty, in memory taken from h. */
static uint8_t *read_all(FILE *f, const char *path, nbi_heap *h, size_t *size, nb_reason *why)
{
    struct stat s;
    if (fstat(fileno(f), &s) || !S_ISREG(s.st_mode) || s.st_size <= 0) {
        nbi_because(why, NB_ERR_FORMAT, "%.120s: not a regular file, or an empty one", path);
        return NULL;
    }
    *size = (size_t)s.st_size;
    uint8_t *bytes = nbi_resize(h, NULL, 0, *size);
    if (!bytes)
        nbi_because(why, NB_ERR_MEMORY, "%.120s: out of memory for %zu bytes", path, *size);
    else if (fread(bytes, 1, *size, f) != *size) {
        nbi_because(why, NB_ERR_FILE, "%.120s: cannot read it", path);
        bytes = nbi_resize(h, bytes, *size, 0);
    }
    return bytes;
}

nb_program *nb_program_load(const char *path, const nb_allocator *allocator, nb_reason *why)
{
    nbi_heap h;
    size_t size = 0;
    nbi_heap_init(&h, allocator, 0);
    FILE *f = path ? fopen(path, "rbe") : NULL;
    if (!f) {
        nbi_because(why, path ? NB_ERR_FILE : NB_ERR_ARGUMENT, "load a program: %.120s: %s",
                    path ? path : "no path", path ? strerror(errno) : "it is NULL");
        return NULL;
    }
    uint8_t *bytes = read_all(f, path, &h, &size, why);
    fclose(f);
    nb_program *p = bytes ? nbi_program_unpack(bytes, size, allocator, why) : NULL;
    if (bytes)
        nbi_resize(&h, bytes, size, 0);
    return p;
}
