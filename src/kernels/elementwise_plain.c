/*
 * The kernels of the table's rows that every machine has: the loops of elementwise.inc, one element
 * at a time as the source says it, in whatever vectors the compiler finds in the baseline. The
 * vector sets are compared with these.
 */
#include "kernels/elementwise.h"

#include "table/arithmetic.h"

#define KERNELS      nbi_row_kernels_plain
#define PASTE(a, b)  a##b
#define PASTED(a, b) PASTE(a, b)
#define FN(name)     PASTED(name, KIND)

#define T            double
#define KIND         _f64
#define ROW_FN(name) name
#include "kernels/elementwise.inc"
#undef T
#undef KIND
#undef ROW_FN
#define T            float
#define KIND         _f32
#define ROW_FN(name) name##f
#include "kernels/elementwise.inc"
#undef T
#undef KIND
#undef ROW_FN

#include "kernels/elementwise_table.inc"
