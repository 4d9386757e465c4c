#include <algorithm>

#include "draws.h"
#include "ivn.h"
#include "types.h"

namespace {

using namespace ivn;

template <typename Out>
int fill(const int64_t* keys, Out* out, int64_t B, int64_t count, uint32_t purpose,
         [[maybe_unused]] int threads) {
  const int64_t parts = (count + kDrawnAtOnce - 1) / kDrawnAtOnce;
#pragma omp parallel for num_threads(threads) if (B * count > 4096)
  for (int64_t part = 0; part < B * parts; ++part) {
    const int64_t b = part / parts, start = part % parts * kDrawnAtOnce;
    draw(keys + 4 * b, purpose, start, std::min(kDrawnAtOnce, count - start),
         out + b * count + start);
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
