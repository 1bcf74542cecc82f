/* The LSTM cell for aarch64: vectors of 16 bytes. */
#define NBI_LSTM_TABLE nbi_lstm_neon
#define VEC_BYTES      16
#include "kernels/lstm_lanes.inc"
