// Frozen weights as they are kept: whole, or quantised in groups and made whole at each use.
#ifndef TUNE_QUANTISED_H
#define TUNE_QUANTISED_H
#include "fused.h"

#include <torch/torch.h>

namespace tune {

// Numbers of a row that share a scale: arXiv:2305.14314 has 64. A row is filled up to whole groups.
constexpr int64_t group_size = TUNE_GROUP;

// Weight is a matrix (out, in).
struct Weight {
  at::Tensor dense;   // (out, in); the others are none then
  at::Tensor data;    // int8 (out, groups·64), or uint8 (out, groups·32) with two numbers in a byte
  at::Tensor scales;  // (out, groups) bfloat16
  at::Tensor zeros;   // (out, groups) uint8, with 4 bits: the number that stands for 0
  int64_t in = 0;

  explicit Weight(const tune_weight &w);
  int64_t out() const { return dense.defined() ? dense.size(0) : data.size(0); }
  // whole returns the weight in dtype, a quantised one newly made; for float32 one in bfloat16 that tiles.h multiplies with.
  at::Tensor whole(at::ScalarType dtype) const;
};

}  // namespace tune
#endif
