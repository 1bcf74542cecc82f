/*
 * NumPy's npy.
 *
 *     6 bytes         \x93NUMPY
 *     2 bytes         version: 1.0, 2.0 or 3.0
 *     2 or 4 bytes    N, the length of what follows, little-endian (4 from version 2 on)
 *     N bytes         {'descr': '<f4', 'fortran_order': False, 'shape': (32, 10), }, spaces, newline
 *     the rest        the elements
 *
 * The header is a Python dictionary with three keys in any order. It is read by a scanner that knows
 * these three and nothing else of Python.
 *
 * An array in Fortran's order is its transpose in C's: axis 0 varies fastest. With dims d and index i,
 * element i stands at i0 + d0 (i1 + d1 (i2 + ...)). Reading in C's order is counting i up from its last
 * axis, and moving by that axis's stride.
 */
#include "data/npy.h"

#include "base/reason.h"
#include "data/file.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST = 1 << 16 };

static const char magic[] = "\x93NUMPY";

/* NumPy's letter and size for each type; "" where it has none. */
static const char *const letters[NB_TYPES] = {
    [NB_T_F64] = "f8", [NB_T_F32] = "f4", [NB_T_F16] = "f2", [NB_T_BF16] = "",  [NB_T_I64] = "i8",
    [NB_T_I32] = "i4", [NB_T_I16] = "i2", [NB_T_I8] = "i1",  [NB_T_U64] = "u8", [NB_T_U32] = "u4",
    [NB_T_U16] = "u2", [NB_T_U8] = "u1",  [NB_T_BOOL] = "b1"};

/* ---- the header ------------------------------------------------------------------------------ */

static const char *skip(const char *p) { return p + strspn(p, " \t\r\n"); }

/* Takes the text, after spaces. */
static bool take(const char **p, const char *text)
{
    const char *at = skip(*p);
    if (strncmp(at, text, strlen(text)))
        return false;
    *p = at + strlen(text);
    return true;
}

static const char *take_type(const char **p, nbi_npy *a)
{
    *p = skip(*p);
    const char quote = **p;
    if (quote != '\'' && quote != '"')
        return "its elements are structures, which are not supported";
    const char order = (*p)[1];
    if (!order || !strchr("<>|=", order))
        return "its element type is not supported";
    for (unsigned k = 0; k < NB_TYPES; k++)
        if (*letters[k] && !strncmp(*p + 2, letters[k], 2) && (*p)[4] == quote) {
            a->type = (nb_type)k;
            a->big = order == '>' && nb_type_size(a->type) > 1;
            *p += 5;
            return NULL;
        }
    return "its element type is not supported";
}

static const char *take_shape(const char **p, nb_shape *s)
{
    s->rank = 0;
    if (!take(p, "("))
        return "its shape is not a tuple";
    while (!take(p, ")")) {
        if (s->rank == NB_MAX_RANK)
            return "it has too many axes";
        int64_t n = 0;
        const char *first = *p = skip(*p);
        for (; **p >= '0' && **p <= '9'; ++*p)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, **p - '0', &n))
                return "its shape overflows";
        if (*p == first)
            return "its shape is not made of numbers";
        *p += **p == 'L'; /* Python 2's long integers */
        s->dims[s->rank++] = n;
        if (!take(p, ",")) {
            if (!take(p, ")") || s->rank == 1)
                return "its shape is not a tuple";
            break;
        }
    }
    return NULL;
}

/* NULL, or what is wrong. */
static const char *parse(const char *p, nbi_npy *a)
{
    int types = 0, orders = 0, shapes = 0;
    const char *error = NULL;
    if (!take(&p, "{"))
        return "its header is not a dictionary";
    while (!error && !take(&p, "}")) {
        if (take(&p, "'descr':") && ++types) {
            error = take_type(&p, a);
        } else if (take(&p, "'fortran_order':") && ++orders) {
            a->fortran = take(&p, "True");
            if (!a->fortran && !take(&p, "False"))
                error = "fortran_order is not a truth value";
        } else if (take(&p, "'shape':") && ++shapes) {
            error = take_shape(&p, &a->shape);
        } else {
            error = "its header has an unknown key";
        }
        if (!error && !take(&p, ",") && *skip(p) != '}')
            error = "its header is not a dictionary";
    }
    if (!error && (types != 1 || orders != 1 || shapes != 1))
        error = "its header needs descr, fortran_order and shape, each once";
    return error ? error : *skip(p) ? "something follows its header's dictionary" : NULL;
}

static nb_code bad(const nbi_input *in, nb_reason *why, const char *what)
{
    return nbi_because(why, NB_ERR_FORMAT, "%.150s: npy: %s", in->path, what);
}

static nb_code read_header(nbi_npy *a, nbi_input *in, uint64_t offset, size_t length,
                           nb_reason *why)
{
    char *text = nbi_resize(in->heap, NULL, 0, length + 1);
    if (!text)
        return nbi_because(why, NB_ERR_MEMORY, "%.150s: npy: no memory for its header", in->path);
    nb_code code = nbi_input_read(in, offset, length, text, why);
    if (!code) {
        text[length] = 0;
        const char *error = parse(text, a);
        code = error ? bad(in, why, error) : NB_OK;
    }
    nbi_resize(in->heap, text, length + 1, 0);
    return code;
}

nb_code nbi_npy_open(nbi_npy *a, nbi_input *in, uint64_t offset, uint64_t size, nb_reason *why)
{
    uint8_t start[12];
    *a = (nbi_npy){.shape = NB_POINT};
    if (size < sizeof start)
        return bad(in, why, "truncated within its header");
    nb_code code = nbi_input_read(in, offset, sizeof start, start, why);
    if (code)
        return code;
    if (memcmp(start, magic, 6))
        return bad(in, why, "not an npy file");
    if (start[6] < 1 || start[6] > 3 || start[7])
        return bad(in, why, "a version that is not supported");
    const int width = start[6] == 1 ? 2 : 4;
    const uint64_t length = nbi_little(start + 8, width), before = 8 + (uint64_t)width + length;
    if (length > LONGEST || before > size)
        return bad(in, why, "truncated, or its header is too long");
    code = read_header(a, in, offset + 8 + (uint64_t)width, (size_t)length, why);
    if (code)
        return code;
    if (!nbi_tensor_bytes(a->type, a->shape, &a->bytes))
        return bad(in, why, "its shape overflows");
    if (a->bytes != size - before)
        return nbi_because(why, NB_ERR_FORMAT, "%.120s: npy: %s: %llu bytes of data, not %llu",
                           in->path, size - before < a->bytes ? "truncated" : "something follows",
                           (unsigned long long)(size - before), (unsigned long long)a->bytes);
    a->data = offset + before;
    return NB_OK;
}

/* ---- the elements ---------------------------------------------------------------------------- */

static void turn_bytes(size_t count, size_t size, uint8_t *p)
{
    for (; count; count--, p += size)
        for (size_t i = 0; i < size / 2; i++) {
            const uint8_t b = p[i];
            p[i] = p[size - 1 - i];
            p[size - 1 - i] = b;
        }
}

/* from, in Fortran's order, to C's. */
static void transpose(nb_shape s, size_t size, size_t count, const char *from, char *to)
{
    int64_t index[NB_MAX_RANK] = {0}, stride[NB_MAX_RANK], at = 0;
    for (int d = 0; d < s.rank; d++)
        stride[d] = d ? stride[d - 1] * s.dims[d - 1] : 1;
    for (; count; count--, to += size) {
        memcpy(to, from + (size_t)at * size, size);
        for (int d = s.rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < s.dims[d])
                break;
            at -= stride[d] * s.dims[d];
            index[d] = 0;
        }
    }
}

void nbi_npy_arrange(const nbi_npy *a, void *data, void *work)
{
    const size_t size = nb_type_size(a->type), count = a->bytes / size;
    if (a->big)
        turn_bytes(count, size, data);
    if (nbi_npy_moves(a) && a->bytes) {
        memcpy(work, data, a->bytes);
        transpose(a->shape, size, count, work, data);
    }
}

/* ---- whole files ----------------------------------------------------------------------------- */

size_t nbi_npy_header(const nb_file_entry *e, char to[NBI_NPY_HEADER])
{
    if (!*letters[e->type])
        return 0;
    char *p = to + 10;
    p += sprintf(p, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                 nb_type_size(e->type) > 1 ? '<' : '|', letters[e->type]);
    for (int d = 0; d < e->shape.rank; d++)
        p += sprintf(p, "%lld,%s", (long long)e->shape.dims[d], d + 1 < e->shape.rank ? " " : "");
    if (e->shape.rank > 1)
        p--; /* only a tuple of one ends in a comma */
    p += sprintf(p, "), }");
    while ((p - to) % 64 != 63)
        *p++ = ' ';
    *p++ = '\n';
    memcpy(to, magic, 6);
    to[6] = 1;
    to[7] = 0;
    nbi_put_little((uint8_t *)to + 8, (uint64_t)(p - to) - 10, 2);
    return (size_t)(p - to);
}

nb_code nb_npy_save(const nb_file_entry *e, const char *path, nb_reason *why)
{
    char header[NBI_NPY_HEADER];
    size_t bytes;
    if (!e || !path)
        return nbi_because(why, NB_ERR_ARGUMENT, "save npy: no array or no path");
    if (!nbi_tensor_bytes(e->type, e->shape, &bytes))
        return nbi_because(why, NB_ERR_SHAPE, "%.120s: save npy: no such type or shape", path);
    if (bytes && !e->data)
        return nbi_because(why, NB_ERR_ARGUMENT, "%.120s: save npy: no data", path);
    const size_t n = nbi_npy_header(e, header);
    if (!n)
        return nbi_because(why, NB_ERR_ARGUMENT, "%.120s: save npy: NumPy has no type %s", path,
                           nb_type_name(e->type));
    return nb_file_write(path, 2, (nb_piece[]){{header, n}, {e->data, bytes}}, why);
}

static nb_code load(nb_file *f, nbi_input *in, nb_reason *why)
{
    nbi_npy a;
    nb_code code = nbi_npy_open(&a, in, 0, in->size, why);
    if (!code)
        code = nbi_file_add(f, "", 0, &(nb_file_entry){.type = a.type, .shape = a.shape}, why);
    if (!code)
        code = nbi_file_give_room(f, why);
    if (!code)
        code = nbi_input_read(in, a.data, a.bytes, f->entry[0].data, why);
    if (code)
        return code;
    void *work = nbi_npy_moves(&a) ? nbi_resize(&f->heap, NULL, 0, a.bytes + 1) : NULL;
    if (nbi_npy_moves(&a) && !work)
        return nbi_because(why, NB_ERR_MEMORY, "%.150s: npy: no memory", in->path);
    nbi_npy_arrange(&a, f->entry[0].data, work);
    nbi_resize(&f->heap, work, work ? a.bytes + 1 : 0, 0);
    return NB_OK;
}

nb_code nb_npy_load(const char *path, const nb_allocator *allocator, nb_file **f, nb_reason *why)
{
    return nbi_file_load_by(load, path, allocator, f, why);
}
