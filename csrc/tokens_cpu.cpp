#include <algorithm>
#include <cstring>

#include "ivn.h"

extern "C" int ivn_gather_tokens_cpu(const void* source, const int64_t* index, void* destination,
                                     int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                                     [[maybe_unused]] int threads) {
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(destination);
#pragma omp parallel for num_threads(threads) if (B * M * row_bytes > (1 << 16))
  for (int64_t row = 0; row < B * M; ++row) {
    const int64_t b = row / M;
    std::memcpy(to + row * row_bytes, from + (b * N + index[row]) * row_bytes, row_bytes);
  }
  return 0;
}

extern "C" int ivn_scatter_tokens_cpu(const void* source, const int64_t* index, void* destination,
                                      int64_t* inverse, int64_t B, int64_t N, int64_t M,
                                      int64_t row_bytes, [[maybe_unused]] int threads) {
  std::fill_n(inverse, B * N, int64_t{-1});
  for (int64_t row = 0; row < B * M; ++row) {
    int64_t& origin = inverse[row / M * N + index[row]];
    if (origin != -1) return IVN_DUPLICATE_INDEX;
    origin = row;
  }
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(destination);
#pragma omp parallel for num_threads(threads) if (B * N * row_bytes > (1 << 16))
  for (int64_t row = 0; row < B * N; ++row) {
    if (inverse[row] < 0) {
      std::memset(to + row * row_bytes, 0, row_bytes);
    } else {
      std::memcpy(to + row * row_bytes, from + inverse[row] * row_bytes, row_bytes);
    }
  }
  return 0;
}
