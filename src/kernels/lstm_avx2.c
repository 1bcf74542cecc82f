/* The LSTM cell for AVX2 with FMA: vectors of 32 bytes. */
#define NBI_LSTM_TABLE nbi_lstm_avx2
#define VEC_BYTES      32
#include "kernels/lstm_lanes.inc"
