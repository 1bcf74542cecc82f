/* The table that turns an instruction set into its matrix product.
 *
 * Each row is a pair of kernels, float then double, made by one object file from
 * the common source matmul.inc. An object exists only on the architecture that
 * can execute it; on any other its row points at the plain kernels, so that a
 * lookup never fails and callers need no second check. The rows are constants:
 * choosing is one indexed load, cheap enough to be done at every call.
 *
 * Choosing does not ask the processor. The caller does that once through
 * nbi_isa_best and keeps the answer. */
#include "kernels/matmul.h"

static const nbi_matmul_kernel *const table[NBI_ISA_COUNT] = {
    [NBI_ISA_PLAIN] = nbi_matmul_plain,
#if defined(__x86_64__)
    [NBI_ISA_AVX2] = nbi_matmul_avx2,
    [NBI_ISA_AVX512] = nbi_matmul_avx512,
#else
    [NBI_ISA_AVX2] = nbi_matmul_plain,
    [NBI_ISA_AVX512] = nbi_matmul_plain,
#endif
#if defined(__aarch64__)
    [NBI_ISA_NEON] = nbi_matmul_neon,
#else
    [NBI_ISA_NEON] = nbi_matmul_plain,
#endif
};

size_t nbi_matmul_scratch(nbi_isa isa, bool is_double, int64_t m, int64_t n, int64_t k)
{
    return table[isa][is_double].scratch(m, n, k);
}

nbi_matmul_fn nbi_matmul_choose(nbi_isa isa, bool is_double) { return table[isa][is_double].run; }
