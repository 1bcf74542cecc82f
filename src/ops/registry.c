/*
 * The list of all operations, from the two places that define them.
 */
#include "ops/registry.h"

#include "ops/elementwise.h"
#include "ops/records.h"

#define RECORD(name) &nbi_op_##name,
static const nb_op *const records[] = {
#include "ops/records.def"
};
#undef RECORD

size_t nbi_op_count(void) { return NBI_ROWS + sizeof records / sizeof *records; }

const nb_op *nbi_op_at(size_t i)
{
    return i < NBI_ROWS ? &nbi_row_ops[i] : i < nbi_op_count() ? records[i - NBI_ROWS] : NULL;
}
