#include <algorithm>
#include <cstring>
#include <vector>

#include "draws.h"
#include "ivn.h"
#include "masking.h"

namespace {

using namespace ivn;

template <typename Weight>
IVN_VECTORISED void draw_arrivals(const uint32_t* words, const Weight* weights, int64_t L,
                                  double* arrivals) {
#pragma omp simd
  for (int64_t i = 0; i < L; ++i) {
    arrivals[i] = arrival(words[i], static_cast<double>(weights[i]));
  }
}

// Writes the places of the `kept` smallest of `values`, ascending and plus `start`, the first of
// equals; `scratch` is as long as `values`.
template <typename Value>
void write_smallest(const Value* values, Value* scratch, int64_t count, int64_t kept, int64_t start,
                    int64_t* index) {
  if (kept == 0) return;
  std::copy_n(values, count, scratch);
  std::nth_element(scratch, scratch + kept - 1, scratch + count);
  const Value last = scratch[kept - 1];
  int64_t equals = kept - std::count_if(values, values + count, [&](Value v) { return v < last; });
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] < last || (values[i] == last && equals-- > 0)) *index++ = start + i;
  }
}

template <typename Weight>
int sample(const Weight* weights, const int64_t* keys, int64_t* index, int64_t B, int64_t T,
           int64_t L, int64_t kept, int drawn, uint32_t purpose, [[maybe_unused]] int threads) {
#pragma omp parallel num_threads(threads) if (B * T * L > 4096)
  {
    std::vector<uint32_t> words(L);
    std::vector<double> arrivals(L), scratch(L);
#pragma omp for
    for (int64_t row = 0; row < B * T; ++row) {
      const int64_t t = row % T;
      const Weight* own = weights + row * L;
      if (drawn) {
        draw(keys + row / T * 4, purpose, t * L, L, words.data());
        draw_arrivals(words.data(), own, L, arrivals.data());
      } else {
        for (int64_t i = 0; i < L; ++i) arrivals[i] = -static_cast<double>(own[i]);
      }
      write_smallest(arrivals.data(), scratch.data(), L, kept, t * L, index + row * kept);
    }
  }
  return 0;
}

}  // namespace

extern "C" int ivn_sample_tokens_cpu(const void* weights, const int64_t* keys, int64_t* index,
                                     int64_t B, int64_t T, int64_t L, int64_t kept, int drawn,
                                     uint32_t purpose, int type, int threads) {
  if (B * T * L == 0) return 0;
  if (type == IVN_FLOAT32) {
    const auto* from = static_cast<const float*>(weights);
    return sample(from, keys, index, B, T, L, kept, drawn, purpose, threads);
  }
  if (type != IVN_FLOAT64) return IVN_UNKNOWN_TYPE;
  const auto* from = static_cast<const double*>(weights);
  return sample(from, keys, index, B, T, L, kept, drawn, purpose, threads);
}

extern "C" int ivn_hide_blocks_cpu(const int64_t* keys, uint8_t* hidden, int64_t B, int64_t rows,
                                   int64_t columns, int count, int height, int width, int attempts,
                                   uint32_t purpose, [[maybe_unused]] int threads) {
  const int64_t L = rows * columns;
#pragma omp parallel for num_threads(threads) if (B * L > (1 << 16))
  for (int64_t b = 0; b < B; ++b) {
    uint8_t* places = hidden + b * L;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      std::memset(places, 0, L);
      for (int i = 0; i < count; ++i) {
        const Corner corner =
            corner_of(keys + 4 * b, purpose + attempt, i, rows - height + 1, columns - width + 1);
        for (int64_t y = corner.row; y < corner.row + height; ++y) {
          std::memset(places + y * columns + corner.column, 1, width);
        }
      }
      if (std::memchr(places, 0, L) != nullptr) break;
    }
  }
  return 0;
}

extern "C" int ivn_open_tokens_cpu(const uint8_t* hidden, const int64_t* keys, int64_t* index,
                                   int64_t B, int64_t T, int64_t L, int64_t kept, int shuffled,
                                   uint32_t purpose, [[maybe_unused]] int threads) {
  const int64_t N = T * L;
#pragma omp parallel num_threads(threads) if (B * N > 4096)
  {
    // Words have 64 bits, so that a hidden token's is larger than any other.
    std::vector<uint32_t> words(N, 0);
    std::vector<uint64_t> values(N), scratch(N);
#pragma omp for
    for (int64_t b = 0; b < B; ++b) {
      if (shuffled) {
        draw(keys + 4 * b, purpose, 0, N, words.data());
      }
      for (int64_t n = 0; n < N; ++n) {
        values[n] = words[n] + (static_cast<uint64_t>(hidden[b * L + n % L]) << 32);
      }
      write_smallest(values.data(), scratch.data(), N, kept, 0, index + b * kept);
    }
  }
  return 0;
}

extern "C" int ivn_other_tokens_cpu(const int64_t* index, int64_t* rest, int64_t B, int64_t N,
                                    int64_t M, [[maybe_unused]] int threads) {
  int failed = 0;
#pragma omp parallel num_threads(threads) if (B * N > (1 << 16))
  {
    std::vector<uint8_t> inside(N);
#pragma omp for
    for (int64_t b = 0; b < B; ++b) {
      std::fill(inside.begin(), inside.end(), 0);
      for (int64_t m = 0; m < M; ++m) inside[index[b * M + m]] = 1;
      if (std::count(inside.begin(), inside.end(), 1) != M) {
#pragma omp atomic write
        failed = IVN_DUPLICATE_INDEX;
        continue;
      }
      int64_t* to = rest + b * (N - M);
      for (int64_t n = 0; n < N; ++n) {
        if (!inside[n]) *to++ = n;
      }
    }
  }
  return failed;
}
