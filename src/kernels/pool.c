/*
 * The choice of a pooling kernel, and its scratch: a row of each side in double, three
 * times as many rows as are taken at a time, and a plane of shares.
 */
#include "kernels/pool.h"

size_t nbi_pool_scratch(const nbi_pool *p)
{
    const nbi_pool_axis *down = &p->axis[0], *across = &p->axis[1];
    const int64_t room = nbi_pool_rows(across->in) * across->in + NBI_POOL_SPARE;
    const int64_t shares = down->out * across->out + NBI_POOL_SPARE;
    const int64_t rows = across->in + across->out + 3 * room;
    return (size_t)(rows + shares) * sizeof(double);
}

nbi_pool_fn nbi_pool_choose(nbi_isa isa, bool is_double)
{
#if defined(__x86_64__)
    if (isa == NBI_ISA_AVX512)
        return nbi_pool_avx512[is_double];
    if (isa == NBI_ISA_AVX2)
        return nbi_pool_avx2[is_double];
#elif defined(__aarch64__)
    if (isa == NBI_ISA_NEON)
        return nbi_pool_neon[is_double];
#endif
    (void)isa;
    return nbi_pool_plain[is_double];
}
