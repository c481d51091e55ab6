// Operators of a training step that pass over memory once, with gradients by hand. Plain C, so that cgo can read it; the
// error convention is shim.h's.
#ifndef TUNE_FUSED_H
#define TUNE_FUSED_H
#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// These work on CPU tensors of float32 or bfloat16. NULL leaves a part out.
tune_tensor tune_norm(tune_tensor x, tune_tensor w, tune_tensor residual, tune_tensor cos, tune_tensor sin, double eps);
tune_tensor tune_gated_gelu(tune_tensor gate, tune_tensor up);
tune_tensor tune_attention(tune_tensor q, tune_tensor k, tune_tensor v, const int64_t *starts, int sequences, int64_t width,
                           int64_t window, double scale, double cap);
tune_tensor tune_head_loss(tune_tensor h, tune_tensor head, tune_tensor head_grad, tune_tensor labels, int64_t rows, double cap,
                           tune_tensor sum, int gradient);

// On every device: n linear layers that read the same input, each with an adapter beside its weight.
int tune_adapted(tune_tensor x, int n, tune_tensor *w, tune_tensor *a, tune_tensor *b, const double *scale, tune_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
