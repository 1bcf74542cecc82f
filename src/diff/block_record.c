/*
 * A block through one record.
 *
 * Any rule serves a block as it serves one seed: lane by lane. The lane's arrays are lent to the
 * records as their own adjoints or tangents, the tape's way through a record is taken
 * (reverse_record.c, forward_record.c), and what the records held before is put back.
 *
 * Where the block can be done in one go it is. Rows of the table are (block_row.c). So is the
 * adjoint of the first operand of a matrix product or an affine map, the one that runs back through
 * a net,
 *
 *     dA[l] = G[l] B'     for all lanes l
 *
 * which with the lanes stacked is one product with more rows: the op's own rule, told that there is
 * a batch axis more. It may be, as d(a) does not read a.
 */
#include "diff/block.h"

#include "diff/region.h"
#include "kernels/move.h"
#include "ops/elementwise.h"
#include "ops/records.h"

/* ---- lane by lane, backward ------------------------------------------------------------------ */

/* What a node holds while it is lent a lane. */
typedef struct held {
    void *array; /* adjoint or tangent */
    double adjoint;
    bool fresh, retain;
} held;

static held lend(nb_tape *t, uint32_t i, void *array, double adjoint)
{
    held h = {NULL, t->hot.cells[i].adjoint, false, false};
    t->hot.cells[i].adjoint = adjoint;
    if (nbi_is_tensor(t, i)) {
        nbi_record *r = nbi_record_at(t, i);
        h = (held){r->grad, h.adjoint, r->fresh, r->retain};
        r->grad = array;
        r->fresh = false;
        r->retain = true;
    }
    return h;
}

/* Returns the adjoint as the sweep has left it. */
static double put_back(nb_tape *t, uint32_t i, const held *h)
{
    const double adjoint = t->hot.cells[i].adjoint;
    t->hot.cells[i].adjoint = h->adjoint;
    if (nbi_is_tensor(t, i)) {
        nbi_record *r = nbi_record_at(t, i);
        r->grad = h->array;
        r->fresh = h->fresh;
        r->retain = h->retain;
    }
    return adjoint;
}

/* A number that may stand twice among the operands is lent as 0 and added to. One that stands there
 * once, as before a region, is lent as it is: its sum goes on in the order of a plain sweep. */
static bool lend_lane(nbi_block *b, uint32_t i, size_t l, bool once, held *h)
{
    const bool tensor = nbi_is_tensor(b->t, i);
    if (tensor ? !nbi_block_arrays(b, i) : !nbi_block_numbers(b, i))
        return false;
    *h = tensor ? lend(b->t, i, nbi_block_lane(b, i, l).data, b->full[i] >> l & 1)
                : lend(b->t, i, NULL, once ? nbi_block_numbers(b, i)[l] : 0);
    return true;
}

static void take_lane(nbi_block *b, uint32_t i, size_t l, bool once, const held *h)
{
    const double adjoint = put_back(b->t, i, h);
    if (!nbi_is_tensor(b->t, i))
        nbi_block_numbers(b, i)[l] = once ? adjoint : nbi_block_numbers(b, i)[l] + adjoint;
    else if (adjoint != 0)
        b->full[i] |= (nbi_mask)(1u << l);
}

/* The region that record r is the base of, or NULL. */
static const nbi_region *region_of(const nbi_record *r)
{
    return r->inside == &nbi_region_base ? r->state : NULL;
}

bool nbi_block_waits(const nbi_block *b, uint32_t i)
{
    return b->t->hot.ops[i] == NBI_RECORD && nbi_record_at(b->t, i)->inside == &nbi_region_output;
}

/* The output nodes of a region, which must hold their lane when its base is swept. */
static void lend_outputs(nbi_block *b, const nbi_region *g, size_t l, held *h)
{
    for (size_t k = 0; g && k < g->n_out; k++) {
        const uint32_t i = g->node[k];
        if (!nbi_region_owns(g, k))
            continue;
        const bool there = i <= b->high && b->at[i];
        if (nbi_is_tensor(b->t, i) && there)
            h[k] = lend(b->t, i, nbi_block_lane(b, i, l).data, b->full[i] >> l & 1);
        else
            h[k] = lend(b->t, i, NULL, there ? nbi_block_numbers(b, i)[l] : 0);
    }
}

static void put_back_outputs(nbi_block *b, const nbi_region *g, const held *h)
{
    for (size_t k = 0; g && k < g->n_out; k++)
        if (nbi_region_owns(g, k))
            put_back(b->t, g->node[k], &h[k]);
}

/* An operand that stands there twice is lent twice, and put back in the opposite order. */
static bool reverse_lane(nbi_block *b, uint32_t i, size_t l)
{
    nb_tape *t = b->t;
    const nbi_record *r = nbi_record_at(t, i);
    const nbi_region *g = region_of(r);
    const nbi_spot scratch = t->scratch.at;
    held *h = nbi_scratch(t, r->n_in * sizeof *h);
    held *outputs = nbi_scratch(t, (g ? g->n_out : 0) * sizeof *h);
    bool done = h && outputs;
    if (!done)
        nbi_no_memory(t, r->op->name);
    size_t lent = 0;
    for (; done && lent < r->n_in; lent += done)
        done = !b->role[r->in[lent]] || lend_lane(b, r->in[lent], l, g, &h[lent]);
    const bool tensor = r->rank >= 0;
    const held own = tensor ? lend(t, i, nbi_block_lane(b, i, l).data, 1)
                            : lend(t, i, NULL, nbi_block_numbers(b, i)[l]);
    if (done) {
        lend_outputs(b, g, l, outputs);
        done = nbi_reverse_record(t, i, b->role);
        put_back_outputs(b, g, outputs);
    }
    put_back(t, i, &own);
    while (lent-- > 0)
        if (b->role[r->in[lent]])
            take_lane(b, r->in[lent], l, g, &h[lent]);
    nbi_give_back(&t->scratch, scratch);
    return done;
}

/* ---- the first operand of a product, in one go ----------------------------------------------- */

static bool is_product(const nbi_block *b, const nbi_record *r)
{
    const nb_tape *t = b->t;
    if (r->op != &nbi_op_matmul && r->op != &nbi_op_affine)
        return false;
    for (size_t k = 1; k < r->n_in; k++)
        if (r->in[k] == r->in[0])
            return false;
    return b->role[r->in[0]] && r->rank >= 0 && nbi_record_at(t, r->in[0])->rank < NB_MAX_RANK &&
           nbi_record_at(t, r->in[1])->rank <= 2;
}

/* Lanes [first, first + count) of the first operand's adjoint. */
static bool reverse_first(nbi_block *b, uint32_t i, size_t first, size_t count)
{
    nb_tape *t = b->t;
    const nbi_record *r = nbi_record_at(t, i);
    const uint32_t a = r->in[0];
    int64_t dims[2][NB_MAX_RANK + 1];
    float unused[3];
    bool add[3] = {false};
    if (!nbi_block_arrays(b, a))
        return false;
    nb_array g = nbi_block_stack(b, i, first, count, dims[0], &add[1]);
    nb_array to = nbi_block_stack(b, a, first, count, dims[1], &add[0]), in[3] = {to}, out = g;
    nb_array *const gin[3] = {&to, NULL, NULL};
    in[0].data = out.data = NULL;
    for (size_t k = 1; k < r->n_in; k++)
        in[k] = nbi_array_of(t, r->in[k], &unused[k]);
    nb_call c = {t, r->op, r->n_in, in, &out, r->state, NULL};
    nb_code code = r->op->reverse_arrays(&c, &g, gin, add);
    if (code != NB_OK)
        nbi_fail(t, code, "%s: the reverse rule of node %u failed", r->op->name, i);
    return code == NB_OK;
}

static bool reverse_product(nbi_block *b, uint32_t i, size_t first, size_t count)
{
    const nbi_record *r = nbi_record_at(b->t, i);
    uint8_t *role = &b->role[r->in[0]], was = *role;
    if (!reverse_first(b, i, first, count))
        return false;
    bool rest = false, done = true;
    for (size_t k = 1; k < r->n_in; k++)
        rest = rest || b->role[r->in[k]];
    *role = NBI_OFF;
    for (size_t l = first; rest && done && l < first + count; l++)
        done = reverse_lane(b, i, l);
    *role = was;
    return done;
}

/* ---- backward -------------------------------------------------------------------------------- */

static bool reverse_run(nbi_block *b, uint32_t i, size_t first, size_t count)
{
    const nbi_record *r = nbi_record_at(b->t, i);
    if (nbi_block_is_row(r))
        return nbi_block_reverse_row(b, i, first, count);
    if (is_product(b, r))
        return reverse_product(b, i, first, count);
    bool done = true;
    for (size_t l = first; done && l < first + count; l++)
        done = reverse_lane(b, i, l);
    return done;
}

bool nbi_block_reverse_record(nbi_block *b, uint32_t i)
{
    nb_tape *t = b->t;
    const nbi_record *r = nbi_record_at(t, i);
    const unsigned active = nbi_block_active(b, i);
    bool any = false, done = true;
    for (size_t k = 0; k < r->n_in && !any; k++)
        any = b->role[r->in[k]];
    if (r->leaf || !any)
        return true;
    t->busy++;
    for (size_t first = 0, count; done && first < b->lanes; first += count) {
        for (count = 1;
             first + count < b->lanes && (active >> (first + count) & 1) == (active >> first & 1);)
            count++;
        if (active >> first & 1)
            done = reverse_run(b, i, first, count);
    }
    t->busy--;
    const nbi_region *g = region_of(r);
    for (size_t k = 0; g && k < g->n_out; k++)
        if (nbi_region_owns(g, k) && g->node[k] <= b->high && b->role[g->node[k]] != NBI_ASKED)
            nbi_block_release(b, g->node[k]);
    return done;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Adds the tangent that a sweep has left at record i to lane l. */
static bool keep_tangent(nbi_block *b, uint32_t i, size_t l)
{
    const nbi_record *r = nbi_record_at(b->t, i);
    if (r->rank < 0) {
        double *to = nbi_block_numbers(b, i);
        if (to)
            to[l] += b->tangent[i];
        b->tangent[i] = 0;
        return to != NULL;
    }
    if (!r->tangent)
        return true;
    if (!nbi_block_arrays(b, i))
        return false;
    const nb_array to = nbi_block_lane(b, i, l);
    nbi_move_run(to.dtype, to.size, to.data, r->tangent, b->full[i] >> l & 1);
    b->full[i] |= (nbi_mask)(1u << l);
    return true;
}

/* Lends lane l of node i to it as its tangent; returns the array it had. */
static void *lend_tangent(nbi_block *b, uint32_t i, size_t l)
{
    const bool some = i <= b->high && b->at[i];
    if (!nbi_is_tensor(b->t, i)) {
        b->tangent[i] = some ? ((double *)b->at[i])[l] : 0;
        return NULL;
    }
    nbi_record *r = nbi_record_at(b->t, i);
    void *was = r->tangent;
    r->tangent = some && b->full[i] >> l & 1 ? nbi_block_lane(b, i, l).data : NULL;
    return was;
}

/* What a base's sweep has left at its outputs, some of which take part. */
static bool keep_outputs(nbi_block *b, const nbi_region *g, size_t l)
{
    bool done = true;
    for (size_t k = 0; g && done && k < g->n_out; k++)
        if (nbi_region_owns(g, k) && g->node[k] <= b->high) {
            b->tangent[g->node[k]] = b->t->tangent[g->node[k]];
            if (b->role[g->node[k]])
                done = keep_tangent(b, g->node[k], l);
            b->tangent[g->node[k]] = 0;
        }
    return done;
}

/* Exchanges the arrays that the outputs hold as tangents with those in the list. */
static void exchange(nb_tape *t, const nbi_region *g, void **list)
{
    for (size_t k = 0; g && k < g->n_out; k++)
        if (nbi_region_owns(g, k)) {
            nbi_record *r = nbi_record_at(t, g->node[k]);
            void *tangent = r->tangent;
            r->tangent = list[k];
            list[k] = tangent;
        }
}

static bool forward_lane(nbi_block *b, uint32_t i, size_t l)
{
    nb_tape *t = b->t;
    nbi_record *r = nbi_record_at(t, i);
    const nbi_spot scratch = t->scratch.at, taken = t->tangents.at;
    const nbi_region *g = region_of(r);
    void **was = nbi_scratch(t, r->n_in * sizeof *was), *own = r->tangent;
    void **outputs = nbi_scratch(t, (g ? g->n_out : 0) * sizeof *outputs);
    double *tangent = t->tangent;
    const uint32_t room = t->tangent_room;
    if (!was || !outputs)
        return nbi_no_memory(t, r->op->name), false;
    for (size_t k = 0; g && k < g->n_out; k++)
        outputs[k] = NULL;
    exchange(t, g, outputs);
    for (size_t k = 0; k < r->n_in; k++)
        was[k] = lend_tangent(b, r->in[k], l);
    r->tangent = NULL;
    t->tangent = b->tangent;
    t->tangent_room = b->high + 1;
    const bool done = nbi_forward_record(t, i) && keep_tangent(b, i, l) && keep_outputs(b, g, l);
    t->tangent = tangent;
    t->tangent_room = room;
    exchange(t, g, outputs);
    r->tangent = own;
    for (size_t k = r->n_in; k-- > 0;)
        if (nbi_is_tensor(t, r->in[k]))
            nbi_record_at(t, r->in[k])->tangent = was[k];
    nbi_give_back(&t->tangents, taken);
    nbi_give_back(&t->scratch, scratch);
    return done;
}

bool nbi_block_forward_record(nbi_block *b, uint32_t i)
{
    bool done = true;
    if (nbi_block_is_row(nbi_record_at(b->t, i)))
        return nbi_block_forward_row(b, i);
    for (size_t l = 0; done && l < b->lanes; l++)
        done = forward_lane(b, i, l);
    return done;
}
