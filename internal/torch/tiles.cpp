// See tiles.h. A tile holds 16 rows of 64 bytes, and one instruction multiplies two of them: 16 x 32 with 32 x 16 numbers
// of bfloat16, added to 16 x 16 of float32, at sixteen times the rate of float32 in vectors.
//
// oneDNN uses the same instructions. This is faster for LoRA's products, of a few hundred rows with a weight, because each
// thread packs what it reads itself (what another thread packed has to come from that one's cache), and because it has
// float32 on the left: oneDNN's float32 has no tiles.
#include "tiles.h"

#include "kernel.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#define TILES __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define INLINE_TILES TILES static inline __attribute__((always_inline))

namespace tune::tiles {

namespace {

using bits = uint16_t;  // of a bfloat16

constexpr int64_t height = 16;             // rows of a tile
constexpr int64_t depth = 32;              // numbers of a row that one instruction sums over
constexpr int64_t tile = height * depth;   // numbers of a tile
constexpr int64_t panel = 32;              // columns of the result at a time: two tiles
constexpr int64_t cache = 3 << 19;         // bytes of packed rows: most of a core's second cache
constexpr int64_t longest = 1024;          // numbers of a row that are packed at a time where sums can wait in float32

bool allowed() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool amx = (d & (1u << 22)) != 0 && (d & (1u << 24)) != 0;  // AMX-BF16, AMX-TILE
  const bool avx512 = (b & (1u << 16)) != 0 && (b & (1u << 30)) != 0 && (b & (1u << 31)) != 0 && (b & (1u << 17)) != 0;
  if (!amx || !avx512 || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a & (1u << 5)) == 0) return false;  // AVX512-BF16
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA: Linux grants tiles on request
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

struct alignas(64) Shape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {height, height, height, height, height, height, height, height};
};
const Shape shape;

// The compiler does not know what tile instructions read.
INLINE_TILES void written() { asm volatile("" ::: "memory"); }

// pack_rows puts n rows of x (.., k), filled up with zeros to whole tiles, into tiles: for each 16 rows, for each 32 columns,
// one tile a term. Terms of a float32 are what bfloat16 leaves of the one before.
TILES void pack_rows(bits *to, const float *x, int64_t stride, int64_t n, int64_t k) {
  for (int64_t row = 0; row < (n + panel - 1) / panel * panel; row++) {
    bits *at = to + row / height * k * 3 * height + row % height * depth;
    for (int64_t i = 0; i < k; i += depth, at += 3 * tile) {
      if (row >= n) {
        for (int64_t t = 0; t < 3; t++) std::memset(at + t * tile, 0, depth * sizeof(bits));
        continue;
      }
      __m512 low = _mm512_loadu_ps(x + row * stride + i), high = _mm512_loadu_ps(x + row * stride + i + 16);
      for (int64_t t = 0; t < 3; t++) {
        const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_storeu_si512(at + t * tile, rounded);
        low = _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rounded)), 16)));
        high = _mm512_sub_ps(high, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(rounded, 1)), 16)));
      }
    }
  }
}

TILES void pack_rows(bits *to, const bits *x, int64_t stride, int64_t n, int64_t k) {
  for (int64_t row = 0; row < (n + panel - 1) / panel * panel; row++) {
    bits *at = to + row / height * k * height + row % height * depth;
    for (int64_t i = 0; i < k; i += depth, at += tile)
      _mm512_storeu_si512(at, row < n ? _mm512_loadu_si512(x + row * stride + i) : _mm512_setzero_si512());
  }
}

// Of the right side a tile has 16 columns, and in each of its rows two numbers of a column, one beneath the other.

// pack_transposed puts 16 columns of Wᵀ, rows of W (.., k), into tiles: pairs of numbers are transposed as one.
TILES void pack_transposed(bits *to, const bits *w, int64_t stride, int64_t k) {
  for (int64_t at = 0; at < k; at += depth, to += tile) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(w + i * stride + at);
    for (int i = 0; i < 8; i++) {
      t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
      r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
      r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
      r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
      r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
      t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
      t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
      t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
      t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
      _mm512_storeu_si512(to + i * depth, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
      _mm512_storeu_si512(to + (8 + i) * depth, _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
    }
  }
}

// pack_columns puts 32 columns of W (k, ..) into tiles: two rows are laced into one.
TILES void pack_columns(bits *left, bits *right, const bits *w, int64_t stride, int64_t k) {
  alignas(64) static const bits lace[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                            8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i first = _mm512_load_si512(lace), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  for (int64_t i = 0; i < k; i += 2, left += depth, right += depth) {
    const __m512i a = _mm512_loadu_si512(w + i * stride), b = _mm512_loadu_si512(w + (i + 1) * stride);
    _mm512_storeu_si512(left, _mm512_permutex2var_epi16(a, first, b));
    _mm512_storeu_si512(right, _mm512_permutex2var_epi16(a, second, b));
  }
}

// Ahead asks for the part of the right side that is packed next, a few lines of the cache at a time while tiles are
// multiplied: weights come from memory, and a step has each of them once forward and once backward.
class Ahead {
 public:
  Ahead(const bits *from, int64_t stride, int64_t rows, int64_t width)
      : row_(reinterpret_cast<const char *>(from)), stride_(stride * sizeof(bits)), rows_(rows), width_(width * sizeof(bits)) {}

  void next(int64_t lines) {
    for (; lines > 0 && rows_ > 0; lines--) {
      __builtin_prefetch(row_ + at_, 0, 2);
      at_ += 64;
      if (at_ < width_) continue;
      at_ = 0;
      row_ += stride_;
      rows_--;
    }
  }

 private:
  const char *row_;
  int64_t stride_, rows_, width_, at_ = 0;
};

// multiply makes 32 x 32 numbers of the result, of packed rows and columns with k numbers each.
template <int terms>
INLINE_TILES void multiply(float *c, int64_t stride, const bits *rows, const bits *columns, int64_t k, bool add, Ahead &ahead, int64_t lines) {
  const int64_t bytes = stride * sizeof(float), steps = k / depth;
  const bits *below = rows + steps * terms * tile, *beside = columns + steps * tile;
  if (add) {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + 16, bytes);
    _tile_loadd(2, c + 16 * stride, bytes);
    _tile_loadd(3, c + 16 * stride + 16, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t s = 0; s < steps; s++) {
    ahead.next(lines);
    _tile_loadd(6, columns + s * tile, 64);
    _tile_loadd(7, beside + s * tile, 64);
    for (int64_t t = 0; t < terms; t++) {
      _tile_loadd(4, rows + (s * terms + t) * tile, 64);
      _tile_loadd(5, below + (s * terms + t) * tile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + 16, bytes);
  _tile_stored(2, c + 16 * stride, bytes);
  _tile_stored(3, c + 16 * stride + 16, bytes);
}

// widen and narrow carry a row of a panel between the result and float32.
TILES void widen(float *to, const float *from) { std::memcpy(to, from, panel * sizeof(float)); }
TILES void widen(float *to, const bits *from) {
  for (int64_t i = 0; i < panel; i += 16)
    _mm512_storeu_ps(to + i, _mm512_castsi512_ps(_mm512_slli_epi32(
                                 _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + i))), 16)));
}
TILES void narrow(float *to, const float *from) { std::memcpy(to, from, panel * sizeof(float)); }
TILES void narrow(bits *to, const float *from) {
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from)));
}

// Room is what a thread packs into. It stays with the thread.
struct Room {
  struct Free {
    void operator()(void *p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> memory;
  size_t bytes = 0;

  bits *of(size_t wanted) {
    wanted = (wanted + 4095) / 4096 * 4096;
    if (bytes < wanted) {
      memory.reset(std::aligned_alloc(64, wanted));
      bytes = memory ? wanted : 0;
      TORCH_CHECK_WITH(OutOfMemoryError, memory, "product: no memory for ", wanted, " bytes");
    }
    return static_cast<bits *>(memory.get());
  }
};

struct Right {
  const bits *data;
  int64_t stride;
  bool transposed;  // whether data is (M, K)
};

// part makes n rows and m columns of the result.
template <typename In, typename Out>
TILES void part(Out *c, int64_t c_stride, const In *a, int64_t a_stride, const Right &b, int64_t first, int64_t n, int64_t k, int64_t m,
                bool add) {
  constexpr int terms = sizeof(In) == sizeof(float) ? 3 : 1;
  constexpr bool wide = sizeof(Out) == sizeof(float);
  // Sums that are kept in bfloat16 are made in one go.
  const int64_t pieces = wide ? (k + longest - 1) / longest : 1;
  const int64_t piece = (k / depth + pieces - 1) / pieces * depth;
  const int64_t chunk = std::max<int64_t>(panel, std::min<int64_t>(256, cache / (piece * terms * 2)) / panel * panel);
  const int64_t rows_at_once = std::min(chunk, (n + panel - 1) / panel * panel);
  static thread_local Room room;
  bits *rows = room.of((rows_at_once * piece * terms + 2 * piece * panel) * sizeof(bits));
  bits *columns = rows + rows_at_once * piece * terms;
  alignas(64) float block[panel * panel];

  _tile_loadconfig(&shape);
  for (int64_t top = 0; top < n; top += chunk) {
    const int64_t count = std::min(chunk, n - top);
    for (int64_t from = 0; from < k; from += piece) {
      const int64_t len = std::min(piece, k - from);
      const bool sum = add || from > 0;
      const int64_t steps = (count + panel - 1) / panel * (len / depth);  // of tiles, between one panel and the next
      pack_rows(rows, a + top * a_stride + from, a_stride, count, len);
      for (int64_t left = first; left < first + m; left += panel) {
        if (b.transposed) {
          pack_transposed(columns, b.data + left * b.stride + from, b.stride, len);
          pack_transposed(columns + len * 16, b.data + (left + 16) * b.stride + from, b.stride, len);
        } else {
          pack_columns(columns, columns + len * 16, b.data + from * b.stride + left, b.stride, len);
        }
        written();
        const int64_t then = left + panel < first + m ? left + panel : first;
        Ahead ahead = b.transposed ? Ahead(b.data + then * b.stride + from, b.stride, panel, len)
                                   : Ahead(b.data + from * b.stride + then, b.stride, len, panel);
        const int64_t lines = (len + steps - 1) / steps;
        for (int64_t row = 0; row < count; row += panel) {
          Out *to = c + (top + row) * c_stride + left;
          for (int64_t i = 0; i < std::min(panel, count - row); i++) {  // the result comes while the product is made
            __builtin_prefetch(to + i * c_stride, 1, 3);
            if (wide) __builtin_prefetch(to + i * c_stride + 16, 1, 3);
          }
          const bits *packed = rows + row * len * terms;
          const int64_t whole = std::min(panel, count - row);
          if constexpr (wide) {
            if (whole == panel) {
              multiply<terms>(to, c_stride, packed, columns, len, sum, ahead, lines);
              continue;
            }
          }
          if (sum) {
            for (int64_t i = 0; i < whole; i++) widen(block + i * panel, to + i * c_stride);
            written();
          }
          multiply<terms>(block, panel, packed, columns, len, sum, ahead, lines);
          for (int64_t i = 0; i < whole; i++) narrow(to + i * c_stride, block + i * panel);
        }
      }
    }
  }
  _tile_release();
}

// run shares the result out, each thread a stretch of rows: what reads them next is shared out likewise, and finds them in
// its own cache. Where rows are few beside the columns it is the columns that are shared, so that not every thread packs
// the whole weight. Neither changes a number: each is summed in the same order.
template <typename In, typename Out>
void run(Out *c, int64_t c_stride, const In *a, int64_t a_stride, const Right &b, int64_t n, int64_t k, int64_t m, bool add) {
  const bool by_rows = m < 8 * n;
  const int64_t unit = by_rows ? height : panel, units = ((by_rows ? n : m) + unit - 1) / unit;
  const int64_t threads = std::min<int64_t>(units, n * k * m < 1 << 18 ? 1 : at::get_num_threads());
  const int64_t each = (units + threads - 1) / threads * unit;
  parallel(threads, 1 << 20, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t from = i * each;
      if (by_rows && from < n)
        part(c + from * c_stride, c_stride, a + from * a_stride, a_stride, b, 0, std::min(each, n - from), k, m, add);
      else if (!by_rows && from < m)
        part(c, c_stride, a, a_stride, b, from, n, k, std::min(each, m - from), add);
    }
  });
}

}  // namespace

bool takes(int64_t rows, int64_t columns) {
  static const bool here = allowed();
  return here && !composing() && rows > 0 && columns > 0 && rows % panel == 0 && columns % panel == 0;
}

bool takes(const at::Tensor &w) {
  return ours(w) && w.scalar_type() == at::kBFloat16 && w.dim() == 2 && takes(w.size(0), w.size(1)) &&
         (w.stride(1) == 1 || w.stride(0) == 1);
}

bool product(at::Tensor &c, const at::Tensor &a, const at::Tensor &b, bool add) {
  if (!takes(b) || !ours(c) || a.dim() != 2) return false;
  const bool in32 = a.scalar_type() == at::kFloat, out32 = c.scalar_type() == at::kFloat;
  if ((!in32 && a.scalar_type() != at::kBFloat16) || (!out32 && c.scalar_type() != at::kBFloat16) || (in32 && !out32)) return false;
  const int64_t n = a.size(0), k = a.size(1), m = b.size(1);
  const bool transposed = b.stride(0) == 1 && b.stride(1) >= k;
  if (n == 0 || a.stride(1) != 1 || c.stride(1) != 1 || (!transposed && (b.stride(1) != 1 || b.stride(0) < m))) return false;
  TORCH_CHECK(k == b.size(0) && c.size(0) == n && c.size(1) == m, "product: ", a.sizes(), " and ", b.sizes(), " into ", c.sizes());
  RECORD("tiles_product");
  const Right right{static_cast<const bits *>(b.data_ptr()), transposed ? b.stride(1) : b.stride(0), transposed};
  if (in32)
    run(static_cast<float *>(c.data_ptr()), c.stride(0), static_cast<const float *>(a.data_ptr()), a.stride(0), right, n, k, m, add);
  else if (out32)
    run(static_cast<float *>(c.data_ptr()), c.stride(0), static_cast<const bits *>(a.data_ptr()), a.stride(0), right, n, k, m, add);
  else
    run(static_cast<bits *>(c.data_ptr()), c.stride(0), static_cast<const bits *>(a.data_ptr()), a.stride(0), right, n, k, m, add);
  return true;
}

}  // namespace tune::tiles

#else

namespace tune::tiles {

bool takes(const at::Tensor &) { return false; }
bool takes(int64_t, int64_t) { return false; }
bool product(at::Tensor &, const at::Tensor &, const at::Tensor &, bool) { return false; }

}  // namespace tune::tiles
#endif
