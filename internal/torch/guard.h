// What the C++ files of this package share: how a tensor and an error cross to Go. See shim.h.
#ifndef TUNE_GUARD_H
#define TUNE_GUARD_H
#include "shim.h"

#include <torch/torch.h>

#include <exception>

#define TUNE_TORCH (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

namespace tune {

void keep_error(const char *what);

// Runs f and turns anything thrown into the thread's last error.
template <typename R, typename F>
R guard(R failed, F f) {
  try {
    return f();
  } catch (const std::exception &e) {
    keep_error(e.what());
  } catch (...) {
    keep_error("unknown C++ exception");
  }
  return failed;
}

template <typename F>
void guard_void(F f) {
  guard(0, [&] {
    f();
    return 0;
  });
}

template <typename F>
tune_tensor make(F f) {
  return guard(tune_tensor(nullptr), [&]() -> tune_tensor { return new at::Tensor(f()); });
}

inline at::Tensor &ref(tune_tensor t) { return *static_cast<at::Tensor *>(t); }

}  // namespace tune
#endif
