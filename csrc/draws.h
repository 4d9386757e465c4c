// Keyed words and normal numbers on a CPU, many at a time.
#pragma once

#include <algorithm>
#include <type_traits>

#include "random.h"
#include "vectorised.h"

namespace ivn {

constexpr int kDrawnBlocks = 64;  // blocks of four words that stay in the first-level cache
constexpr int64_t kDrawnAtOnce = 4 * kDrawnBlocks;

// The words, four each, of `blocks` blocks, at most kDrawnBlocks, beginning with block `first`.
template <typename Word>
IVN_VECTORISED inline void draw_words(const int64_t* key, uint32_t purpose, uint32_t first,
                                      int blocks, Word* out) {
#pragma omp simd
  for (int i = 0; i < blocks; ++i) {
    const Words words = random_words(key, purpose, first + static_cast<uint32_t>(i));
    for (int j = 0; j < 4; ++j) out[4 * i + j] = words.v[j];
  }
}

// The normal numbers of these words.
template <typename Real>
IVN_VECTORISED inline void draw_normals(const int64_t* key, uint32_t purpose, uint32_t first,
                                        int blocks, Real* out) {
  uint32_t u[2 * kDrawnBlocks], v[2 * kDrawnBlocks];
  for (int i = 0; i < blocks; ++i) {
    const Words words = random_words(key, purpose, first + static_cast<uint32_t>(i));
    u[2 * i] = words.v[0];
    v[2 * i] = words.v[1];
    u[2 * i + 1] = words.v[2];
    v[2 * i + 1] = words.v[3];
  }
#pragma omp simd
  for (int i = 0; i < 2 * blocks; ++i) {
    const Pair<Real> pair = normal_pair<Real>(u[i], v[i]);
    out[2 * i] = pair.first;
    out[2 * i + 1] = pair.second;
  }
}

// out = draws start, start + 1, ... start + count - 1 of a key: words if Out is an integer type,
// else normal numbers.
template <typename Out>
void draw(const int64_t* key, uint32_t purpose, int64_t start, int64_t count, Out* out) {
  Out some[kDrawnAtOnce];
  int64_t block = start / 4, skipped = start % 4;
  while (count > 0) {
    const int64_t blocks = std::min((skipped + count + 3) / 4, static_cast<int64_t>(kDrawnBlocks));
    const int64_t drawn = std::min(4 * blocks - skipped, count);
    const bool whole = skipped == 0 && drawn == 4 * blocks;
    Out* to = whole ? out : some;
    const auto first = static_cast<uint32_t>(block);
    if constexpr (std::is_integral_v<Out>) {
      draw_words(key, purpose, first, static_cast<int>(blocks), to);
    } else {
      draw_normals(key, purpose, first, static_cast<int>(blocks), to);
    }
    if (!whole) std::copy_n(some + skipped, drawn, out);
    out += drawn;
    count -= drawn;
    block += blocks;
    skipped = 0;
  }
}

}  // namespace ivn
