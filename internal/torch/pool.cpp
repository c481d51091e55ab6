// The memory of CPU tensors. See tune_use_pool in shim.h.
//
// A training step makes and drops the same gigabyte of tensors again and again. A C library gives large blocks back to
// the system when they are freed, so that each new tensor costs a page fault for every 4 KiB, a sixth of a step; or it
// keeps them in a heap in which tensors of the next layer fit badly, which holds half as much again as they need.
// Here one stretch of addresses serves all large tensors: freed blocks grow together with their neighbours, and a new
// tensor takes the smallest that holds it. Its pages stay with the process, in pieces of 2 MiB where the system can.
#include "guard.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <unordered_map>
#include <utility>

namespace {

using namespace tune;

constexpr size_t grain = 256;        // of sizes and addresses: two tensors should not start at the same place of a page
constexpr size_t alignment = 64;     // what libtorch asks of CPU memory
constexpr size_t large = 32 << 10;   // smaller blocks are the C library's
constexpr size_t huge_page = 2 << 20;

class Pool : public c10::Allocator {
 public:
  Pool() {
    // Addresses cost nothing until they are written to. A tensor larger than the memory is for the C library to refuse.
    const size_t memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    int flags = MAP_PRIVATE | MAP_ANON;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    for (size_t size = memory; size >= (size_t(64) << 20); size /= 2) {  // a limit on addresses may forbid so many
      void *p = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
      if (p == MAP_FAILED) continue;
      begin_ = static_cast<char *>(p);
      end_ = begin_ + size;
#ifdef MADV_HUGEPAGE
      madvise(p, size, MADV_HUGEPAGE);
#endif
      give(begin_, size);
      break;
    }
  }

  // allocate is const in libtorch before 2.3 and not from there on: one of these is the override.
  c10::DataPtr allocate(size_t n) const { return const_cast<Pool *>(this)->take(n); }
  c10::DataPtr allocate(size_t n) { return take(n); }
  c10::DeleterFnPtr raw_deleter() const { return &release; }
  void copy_data(void *to, const void *from, std::size_t n) const { std::memcpy(to, from, n); }

  void figures(int64_t *now, int64_t *peak) {
    std::lock_guard<std::mutex> hold(lock_);
    *now = now_;
    *peak = peak_;
  }

 private:
  c10::DataPtr take(size_t n);
  static void release(void *p);

  // give adds a stretch to the free ones, joined with those beside it.
  void give(char *at, size_t size) {
    auto next = free_.lower_bound(at);
    if (next != free_.end() && at + size == next->first) {
      size += next->second;
      by_size_.erase({next->second, next->first});
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == at) {
        by_size_.erase({before->second, before->first});
        at = before->first;
        size += before->second;
        free_.erase(before);
      }
    }
    free_.emplace(at, size);
    by_size_.insert({size, at});
  }

  // carve takes a block out of the smallest free stretch that holds it, the lowest of several; null when none does.
  char *carve(size_t size) {
    auto fit = by_size_.lower_bound({size, nullptr});
    if (fit == by_size_.end()) return nullptr;
    const size_t whole = fit->first;
    char *at = fit->second;
    by_size_.erase(fit);
    free_.erase(at);
    if (whole > size) {
      free_.emplace(at + size, whole - size);
      by_size_.insert({whole - size, at + size});
    }
    return at;
  }

  std::mutex lock_;
  char *begin_ = nullptr, *end_ = nullptr;
  std::map<char *, size_t> free_;
  std::set<std::pair<size_t, char *>> by_size_;
  std::unordered_map<void *, size_t> used_;
  int64_t now_ = 0, peak_ = 0;
};

// Never destroyed: tensors of other threads may outlive main.
Pool &pool() {
  static Pool *p = new Pool;
  return *p;
}

c10::DataPtr Pool::take(size_t n) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (n == 0) return {nullptr, nullptr, &release, cpu};
  const size_t size = (n + grain - 1) / grain * grain;
  std::lock_guard<std::mutex> hold(lock_);
  void *p = size >= large ? carve(size) : nullptr;
  if (p == nullptr && posix_memalign(&p, alignment, size) != 0)
    // libtorch's own words, by which an error of this kind is known.
    TORCH_CHECK(false, "DefaultCPUAllocator: not enough memory: you tried to allocate ", n, " bytes.");
  used_.emplace(p, size);
  now_ += static_cast<int64_t>(size);
  peak_ = std::max(peak_, now_);
  return {p, p, &release, cpu};
}

void Pool::release(void *p) {
  if (p == nullptr) return;
  Pool &self = pool();
  std::lock_guard<std::mutex> hold(self.lock_);
  auto found = self.used_.find(p);
  if (found == self.used_.end()) return;
  const size_t size = found->second;
  self.used_.erase(found);
  self.now_ -= static_cast<int64_t>(size);
  char *at = static_cast<char *>(p);
  if (at >= self.begin_ && at < self.end_)
    self.give(at, size);
  else
    std::free(p);
}

}  // namespace

extern "C" {

void tune_use_pool(void) {
  // Before the first tensor, and above the default's priority of 0.
  guard_void([] { c10::SetCPUAllocator(&pool(), 1); });
}

void tune_pool_figures(int64_t *now, int64_t *peak) { pool().figures(now, peak); }

}  // extern "C"
