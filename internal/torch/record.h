// Which operators libtorch dispatches, by its own record of function calls; see record.go. The error convention is
// that of shim.h.
#ifndef TUNE_RECORD_H
#define TUNE_RECORD_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const char *name;  // valid until the next tune_record_start
  int64_t calls;     // in all
  int64_t outermost; // of them, those that no other operator made
  int64_t total_ns;  // with the operators that these called
  int64_t self_ns;   // without
} tune_operator;

// Start and stop on one thread, one recording at a time in a process: the caller sees to that.
// With types a name has the overload behind it, and then the dtypes of the tensors that it was given.
int tune_record_start(int types);
// Returns how many names there are, -1 on failure.
int tune_record_stop(void);
tune_operator tune_record_operator(int i);

#ifdef __cplusplus
}
#endif
#endif
