#include <algorithm>

#include "ivn.h"
#include "random.h"
#include "types.h"
#include "vectorised.h"

namespace {

using namespace ivn;

constexpr int kBlocks = 64;  // of four words at a time: they stay in the first cache

// The numbers of `blocks` blocks, at most kBlocks, from block `first` on: four of each.
IVN_VECTORISED void draw(const int64_t* key, uint32_t purpose, uint32_t first, int blocks,
                         int64_t* out) {
#pragma omp simd
  for (int i = 0; i < blocks; ++i) {
    const Words words = random_words(key, purpose, first + static_cast<uint32_t>(i));
    for (int j = 0; j < 4; ++j) out[4 * i + j] = words.v[j];
  }
}

template <typename Real>
IVN_VECTORISED void draw(const int64_t* key, uint32_t purpose, uint32_t first, int blocks,
                         Real* out) {
  uint32_t u[2 * kBlocks], v[2 * kBlocks];
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

template <typename Out>
int fill(const int64_t* keys, Out* out, int64_t B, int64_t count, uint32_t purpose,
         [[maybe_unused]] int threads) {
  constexpr int64_t kAtOnce = 4 * kBlocks;
  const int64_t parts = (count + kAtOnce - 1) / kAtOnce;
#pragma omp parallel for num_threads(threads) if (B * count > 4096)
  for (int64_t part = 0; part < B * parts; ++part) {
    const int64_t b = part / parts, start = part % parts * kAtOnce;
    const auto first = static_cast<uint32_t>(start / 4);
    Out* to = out + b * count + start;
    if (start + kAtOnce <= count) {
      draw(keys + 4 * b, purpose, first, kBlocks, to);
    } else {
      Out last[kAtOnce];
      draw(keys + 4 * b, purpose, first, static_cast<int>((count - start + 3) / 4), last);
      std::copy_n(last, count - start, to);
    }
  }
  return 0;
}

}  // namespace

extern "C" int ivn_random_words_cpu(const int64_t* keys, int64_t* words, int64_t B, int64_t count,
                                    uint32_t purpose, int threads) {
  return fill(keys, words, B, count, purpose, threads);
}

extern "C" int ivn_normal_cpu(const int64_t* keys, void* out, int64_t B, int64_t count,
                              uint32_t purpose, int type, int threads) {
  if (type == IVN_FLOAT32) return fill(keys, static_cast<float*>(out), B, count, purpose, threads);
  if (type == IVN_FLOAT64) return fill(keys, static_cast<double*>(out), B, count, purpose, threads);
  return IVN_UNKNOWN_TYPE;
}
