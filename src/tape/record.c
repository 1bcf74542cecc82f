/*
 * Recording an op that has a record: nb_apply.
 *
 *     operands  ->  shape rule  ->  memory  ->  forward rule  ->  one node
 *
 * A failure at any point gives back all that was taken, so the tape is as it was but for the error.
 * The record, its copy of the state and its elements lie one after the other in the arena of values.
 */
#include "tape/tape.h"

#include <math.h>

enum { FEW = 4 }; /* operands whose views fit in the call's own frame */

/* A call under construction. */
typedef struct frame {
    nb_call call;
    nb_array out;
    double value; /* of a scalar-valued result */
    nb_shape shape;
    nbi_record *record;
    nb_array few[FEW];
    float few_rounded[FEW];
    nb_var few_vars[FEW];
} frame;

/* Makes every operand a node and a view of it; numbers become constants. Makes room for the result. */
static bool gather(frame *f, size_t n, const nb_var *in)
{
    nb_tape *t = f->call.tape;
    nb_array *view = f->few;
    float *rounded = f->few_rounded;
    nb_var *var = f->few_vars;
    if (n > FEW) {
        if (n > SIZE_MAX / 64 || !(view = nbi_scratch(t, n * sizeof *view)) ||
            !(rounded = nbi_scratch(t, n * sizeof *rounded)) ||
            !(var = nbi_scratch(t, n * sizeof *var))) {
            nbi_no_memory(t, "the operands of a call");
            return false;
        }
    }
    for (size_t k = 0; k < n; k++) {
        uint32_t at = in[k].index;
        if (!in[k].tape && !nbi_constant_at(t, nbi_number(in[k]), &at))
            return false;
        var[k] = nbi_handle(t, at, in[k].tape ? in[k].epoch : t->hot.epoch | NBI_QUIET);
    }
    if (!nbi_room(t))
        return false;
    for (size_t k = 0; k < n; k++) /* only now: new constants and new room move the cells */
        view[k] = nbi_array_of(t, var[k].index, &rounded[k]);
    f->call.in = view;
    f->call.vars = var;
    return true;
}

static nbi_record *make_record(frame *f, const void *state, size_t bytes)
{
    nb_tape *t = f->call.tape;
    if (bytes && !state) {
        nb_refuse(&f->call, NB_ERR_ARGUMENT, "the state is NULL", "%zu bytes of it are due", bytes);
        return NULL;
    }
    size_t n = f->call.n_in, fixed = sizeof(nbi_record) + n * sizeof(uint32_t);
    size_t head = (fixed + 15) & ~(size_t)15;
    nbi_record *r = bytes < SIZE_MAX - head ? nbi_take(&t->values, head + bytes, 16) : NULL;
    if (!r) {
        nbi_no_memory(t, f->call.op->name);
        return NULL;
    }
    *r = (nbi_record){.op = f->call.op, .n_in = (uint32_t)n, .older = NBI_INERT, .still = true};
    for (size_t k = 0; k < n; k++) {
        r->in[k] = f->call.vars[k].index;
        r->still = r->still && nbi_still(t, r->in[k]);
    }
    r->still = r->still || !t->recording;
    r->state_bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    if (bytes) {
        r->state = (char *)r + head;
        memcpy(r->state, state, bytes);
    }
    f->call.state = r->state;
    return r;
}

static bool shape_result(frame *f)
{
    const nb_call *c = &f->call;
    f->shape.rank = c->n_in ? c->in[0].rank : -1;
    for (int i = 0; i < f->shape.rank; i++)
        f->shape.dims[i] = c->in[0].dims[i];
    nb_code code = c->op->shape ? c->op->shape(c, &f->shape) : NB_OK;
    if (code == NB_OK && f->shape.rank > NB_MAX_RANK)
        code = nb_refuse(c, NB_ERR_SHAPE, "the result has too many dimensions", "%d are the most",
                         NB_MAX_RANK);
    if (code == NB_OK && f->shape.rank < -1)
        code = nb_refuse(c, NB_ERR_SHAPE, "the shape rule gave a rank below -1", NULL);
    if (code == NB_OK && c->op->view &&
        (f->shape.rank < 0 || c->in[0].rank < 0 ||
         nbi_product(f->shape.rank, f->shape.dims) != c->in[0].size))
        code = nb_refuse(c, NB_ERR_SHAPE, "a view must have the elements of its operand", NULL);
    if (code != NB_OK)
        nb_refuse(c, code, "the shape rule refused the operands", NULL);
    return code == NB_OK;
}

/* The dims of an earlier operand of the same shape serve the result too. */
static const int64_t *keep_dims(frame *f)
{
    const nb_shape *s = &f->shape;
    size_t bytes = (size_t)s->rank * sizeof(int64_t);
    for (size_t k = 0; k < f->call.n_in && k < 2; k++) {
        int d = f->call.in[k].rank == s->rank ? 0 : -1;
        while (d >= 0 && d < s->rank && f->call.in[k].dims[d] == s->dims[d])
            d++;
        if (d == s->rank)
            return f->call.in[k].dims;
    }
    int64_t *dims = nbi_take(&f->call.tape->values, bytes, _Alignof(int64_t));
    if (dims)
        memcpy(dims, s->dims, bytes);
    return dims;
}

static bool allocate_result(frame *f)
{
    nb_tape *t = f->call.tape;
    nbi_record *r = f->record;
    if (f->shape.rank < 0) {
        r->rank = -1;
        r->size = 1;
        f->out = (nb_array){&f->value, NULL, 1, -1, NB_F64};
        return true;
    }
    int64_t size = nbi_product(f->shape.rank, f->shape.dims);
    size_t bytes;
    if (size < 0 || __builtin_mul_overflow((size_t)size, nbi_element(t->dtype), &bytes)) {
        nb_refuse(&f->call, NB_ERR_OVERFLOW, "the result's size overflows", NULL);
        return false;
    }
    r->rank = f->shape.rank;
    r->size = size;
    r->dims = keep_dims(f);
    r->data = f->call.op->view ? f->call.in[0].data : nbi_take(&t->values, bytes, NBI_ALIGN);
    if (!r->dims || !r->data) {
        nbi_no_memory(t, f->call.op->name);
        return false;
    }
    f->out = (nb_array){r->data, r->dims, size, r->rank, t->dtype};
    return true;
}

static bool compute(frame *f)
{
    const nb_call *c = &f->call;
    if (c->op->view)
        return true;
    nb_code code = c->op->forward ? c->op->forward(c) : NB_ERR_CALLBACK;
    if (code != NB_OK)
        nb_refuse(c, code, c->op->forward ? "the forward rule failed" : "there is no forward rule",
                  NULL);
    return code == NB_OK;
}

static bool all_finite(const nb_array *a)
{
    for (int64_t i = 0; i < a->size; i++)
        if (!isfinite(a->dtype == NB_F64 ? ((double *)a->data)[i] : (double)((float *)a->data)[i]))
            return false;
    return true;
}

static nb_var append(frame *f)
{
    nb_tape *t = f->call.tape;
    nbi_record *r = f->record;
    nbi_args args;
    memcpy(&args, &r, sizeof args);
    nb_var v = nbi_push(t, NBI_RECORD, args.a, args.b, r->rank < 0 ? f->value : (double)NAN);
    v.epoch |= (r->rank < 0 ? 0 : NBI_TENSOR) | (r->still ? NBI_QUIET : 0);
    if (r->op->destroy) {
        r->older = t->attention;
        t->attention = v.index;
    }
    if (t->anomaly && !all_finite(&f->out))
        nbi_anomaly(t, v.index, "a value is not finite");
    return v;
}

nb_var nb_apply(const nb_op *op, size_t n, const nb_var *in, const void *state, size_t bytes)
{
    nb_var inert = NB_NONE;
    const char *name = op && op->name ? op->name : "an op without a name";
    nb_tape *t = op && in && n <= UINT32_MAX / 4 ? nbi_home(name, n, in, &inert) : NULL;
    if (!t)
        return inert;
    if (!op->name) {
        nbi_fail(t, NB_ERR_ARGUMENT, "apply: %s", name);
        return nbi_inert(t);
    }
    frame f;
    f.call = (nb_call){.tape = t, .op = op, .n_in = n, .out = &f.out};
    nbi_spot scratch = t->scratch.at;
    nb_mark before = nbi_mark(t);
    t->busy++;
    bool done = gather(&f, n, in) && (f.record = make_record(&f, state, bytes)) &&
                shape_result(&f) && allocate_result(&f) && compute(&f) && nbi_room(t);
    t->busy--;
    nb_var out = done ? append(&f) : nbi_inert(t);
    if (!done)
        nbi_truncate(t, &before);
    nbi_give_back(&t->scratch, scratch);
    return out;
}

void *nb_keep(const nb_call *c, size_t bytes)
{
    if (!c)
        return NULL;
    nb_tape *t = c->tape;
    void *p = nbi_take(t->keep ? t->keep : &t->values, bytes, NBI_ALIGN);
    if (!p)
        nbi_no_memory(t, c->op->name);
    return p;
}

void *nbi_scratch(nb_tape *t, size_t bytes) { return nbi_take(&t->scratch, bytes, NBI_ALIGN); }
