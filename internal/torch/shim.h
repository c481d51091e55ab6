// What internal/torch needs from libtorch and gotch's wrappers lack. Plain C, so that cgo can read it.
//
// Error convention, the same as gotch's: a function that fails stores a message in the thread-local
// torch_last_err and returns NULL, 0 or -1. No exception crosses this boundary.
#ifndef TUNE_SHIM_H
#define TUNE_SHIM_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A tensor is gotch's: a pointer to a heap-allocated at::Tensor handle.
typedef void *tune_tensor;

// Devices, numbered by us: gotch's own codes know no MPS.
enum { TUNE_CPU = 0, TUNE_CUDA = 1, TUNE_MPS = 2 };
int tune_device_available(int device);
int tune_device_of(tune_tensor t);
void tune_device_name(int device, char *out, int size);
int tune_bfloat16_is_fast(int device);
void tune_synchronize(int device);

// Making and moving tensors. dtype is at::ScalarType's number.
tune_tensor tune_empty(const int64_t *shape, int ndim, int dtype, int device);
tune_tensor tune_from_memory(const void *data, const int64_t *shape, int ndim, int dtype, int to_dtype, int device);
int tune_fill_from_memory(tune_tensor dst, int64_t at, const void *data, int64_t n, int dtype);
tune_tensor tune_to(tune_tensor t, int dtype, int device);
int tune_copy_out(tune_tensor t, void *out, int64_t bytes);
int tune_copy_into(tune_tensor dst, tune_tensor src);
int tune_shape(tune_tensor t, int64_t *out, int max);
void tune_free(tune_tensor *tensors, int n);

// Gradients.
tune_tensor tune_leaf(tune_tensor view, tune_tensor grad);
tune_tensor tune_grad(tune_tensor t);
void tune_backward(tune_tensor t, tune_tensor grad);
int tune_requires_grad(tune_tensor t);
void tune_set_requires_grad(tune_tensor t, int on);

// Operators whose signature gotch's wrappers do not offer.
int tune_adamw(tune_tensor param, tune_tensor grad, tune_tensor m, tune_tensor v, double lr, double beta1,
               double beta2, double eps, double weight_decay, int64_t step);
int tune_has_sdpa(void);
tune_tensor tune_sdpa(tune_tensor q, tune_tensor k, tune_tensor v, tune_tensor mask, double scale);
int tune_has_rms_norm(void);
tune_tensor tune_rms_norm(tune_tensor x, tune_tensor weight, double eps);

// Bytes; -1 where this libtorch or this device cannot tell.
void tune_memory(int device, int64_t *now, int64_t *peak, int64_t *reserved);
int64_t tune_device_memory_limit(int device);
// Has CPU tensors made in a pool of our own from now on; its bytes in tensors, and the most there have been.
void tune_use_pool(void);
void tune_pool_figures(int64_t *now, int64_t *peak);
void tune_process_memory(int64_t *now, int64_t *peak);

int tune_threads(void);
void tune_set_threads(int n);
void tune_manual_seed(uint64_t seed);
tune_tensor tune_generator_state(int device);
void tune_set_generator_state(int device, tune_tensor state);

void tune_install_warning_handler(void);
char *tune_next_warning(void);
char *tune_last_error(void);
const char *tune_libtorch_version(void);
// For tests of the error convention and of the warning handler.
void tune_throw(int kind);
void tune_warn(const char *message, int once);

#ifdef __cplusplus
}
#endif
#endif
