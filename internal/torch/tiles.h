// Matrix products on the tiles of a processor (Intel AMX), for frozen weights kept in bfloat16.
#ifndef TUNE_TILES_H
#define TUNE_TILES_H
#include <torch/torch.h>

namespace tune::tiles {

// takes reports whether w, or its transpose, can be the right side of product: in bfloat16, on a processor with tiles for
// that which the system lets us use.
bool takes(const at::Tensor &w);
bool takes(int64_t rows, int64_t columns);

// product writes a·b into c, or adds it: a (N, K) float32 or bfloat16, b (K, M) bfloat16 or the transpose of such a matrix,
// c (N, M) float32, or bfloat16 where a is. It returns false, and does nothing, where that is not what it was given.
//
// A float32 a is exact: its numbers are taken apart into three of bfloat16 each, whose 24 bits are float32's, and each
// product of two bfloat16 numbers fits float32. What is rounded is the sum, as in any product of float32 matrices. Numbers
// below 1e-38 count as 0; one that is not finite leaves no finite number in its row.
bool product(at::Tensor &c, const at::Tensor &a, const at::Tensor &b, bool add);

}  // namespace tune::tiles
#endif
