#include <algorithm>
#include <cstring>
#include <vector>

#include "ivn.h"
#include "rows.h"
#include "tokens.h"

namespace {

using namespace ivn;

// inverse[b, index[b, k]] = place of row k of batch b in the rows of `behind`, else -1.
void invert(const int64_t* index, int64_t* inverse, int64_t B, int64_t N, const Behind& behind) {
  std::fill_n(inverse, B * N, int64_t{-1});
  for (int64_t token = 0; token < B * behind.K; ++token) {
    inverse[token / behind.K * N + index[token]] = behind.row_of(token);
  }
}

void prefetch_row(const char* row, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

template <typename Out, typename In, typename Real>
IVN_VECTORISED void add_row(const In* from, const Real* position, int64_t C, Out* to) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) to[c] = positioned<Out>(from[c], position[c]);
}

template <typename In, typename Real>
IVN_VECTORISED void sum_row(const In* from, int64_t C, Real* sum) {
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) sum[c] += real<Real>(from[c]);
}

// Adds four rows to two sums: one store to each, where row after row would take four.
template <typename In, typename Real>
IVN_VECTORISED void sum_four_rows(const In* const (&rows)[4], int64_t C, Real* sum, Real* other) {
  const In *first = rows[0], *second = rows[1], *third = rows[2], *fourth = rows[3];
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Real four = (real<Real>(first[c]) + real<Real>(second[c])) +
                      (real<Real>(third[c]) + real<Real>(fourth[c]));
    sum[c] += four;
    other[c] += four;
  }
}

}  // namespace

extern "C" int ivn_check_index_cpu(const int64_t* index, int64_t* found, int64_t B, int64_t M,
                                   int64_t N, [[maybe_unused]] int threads) {
  std::vector<bool> seen;
  for (int64_t b = 0; b < B; ++b) {
    const int64_t* row = index + b * M;
    int64_t before = -1;
    bool ascending = true;  // most rows are: then there is nothing to store
    for (int64_t m = 0; m < M; ++m) {
      ascending &= row[m] > before;
      before = row[m];
    }
    if (ascending && before < N) continue;
    seen.assign(N, false);
    for (int64_t m = 0; m < M; ++m) {
      found[0] = b;
      found[1] = row[m];
      if (row[m] < 0 || row[m] >= N) return IVN_INDEX_OUT_OF_RANGE;
      if (seen[row[m]]) return IVN_DUPLICATE_INDEX;
      seen[row[m]] = true;
    }
  }
  return 0;
}

extern "C" int ivn_gather_tokens_cpu(const void* source, const int64_t* index, void* destination,
                                     int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                                     [[maybe_unused]] int threads) {
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(destination);
#pragma omp parallel for num_threads(threads) if (B * M * row_bytes > (1 << 16))
  for (int64_t row = 0; row < B * M; ++row) {
    const char* source_row = from + (row / M * N + index[row]) * row_bytes;
    if (row + 1 < B * M)
      prefetch_row(from + ((row + 1) / M * N + index[row + 1]) * row_bytes, row_bytes);
    std::memcpy(to + row * row_bytes, source_row, row_bytes);
  }
  return 0;
}

extern "C" int ivn_scatter_tokens_cpu(const void* source, const int64_t* index, void* destination,
                                      int64_t* inverse, int64_t B, int64_t N, int64_t M,
                                      int64_t row_bytes, [[maybe_unused]] int threads) {
  invert(index, inverse, B, N, {0, M});
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

extern "C" int ivn_add_positions_cpu(const void* tokens, const int64_t* index,
                                     const void* positions, const void* heads, void* out, int64_t B,
                                     int64_t K, int64_t C, int64_t P, int64_t H,
                                     int64_t batch_stride, int out_type, int token_type,
                                     [[maybe_unused]] int threads) {
  return with_types(out_type, token_type, [&](auto out_zero, auto token_zero) {
    using Out = decltype(out_zero);
    using In = decltype(token_zero);
    using Real = typename Arithmetic<Out>::type;
    const auto* table = static_cast<const Real*>(positions);
#pragma omp parallel for num_threads(threads) if (B * (H + K) * C > kWorthThreads)
    for (int64_t row = 0; row < B * (H + K); ++row) {
      const int64_t b = row / (H + K), k = row % (H + K) - H;
      Out* to = static_cast<Out*>(out) + row * C;
      if (k < 0) {
        add_row(static_cast<const Real*>(heads) + (H + k) * C, table + (H + k) * C, C, to);
      } else {
        const In* from = static_cast<const In*>(tokens) + b * batch_stride + k * C;
        add_row(from, table + position_of(index[b * K + k], P) * C, C, to);
      }
    }
    return 0;
  });
}

extern "C" int ivn_add_positions_backward_cpu(const void* grad, const int64_t* index,
                                              void* grad_positions, void* grad_heads,
                                              int64_t* inverse, int64_t B, int64_t K, int64_t C,
                                              int64_t P, int64_t H, int64_t clips, int type,
                                              [[maybe_unused]] int threads) {
  invert(index, inverse, B, clips * P, {H, K});
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const auto* from = static_cast<const In*>(grad);
#pragma omp parallel for num_threads(threads) if (B * (H + K) * C > kWorthThreads)
    for (int64_t p = 0; p < P; ++p) {
      Real* sum = static_cast<Real*>(grad_positions) + p * C;
      std::fill_n(sum, C, Real{0});
      if (p < H) {
        for (int64_t b = 0; b < B; ++b) sum_row(from + (b * (H + K) + p) * C, C, sum);
        std::copy_n(sum, C, static_cast<Real*>(grad_heads) + p * C);
      }
      for (int64_t clip = 0; clip < B * clips; ++clip) {
        const int64_t row = inverse[clip * P + p];
        if (row >= 0) sum_row(from + row * C, C, sum);
      }
    }
    return 0;
  });
}

extern "C" int ivn_place_tokens_cpu(const void* tokens, const int64_t* index, const void* fill,
                                    const void* positions, void* out, int64_t* inverse, int64_t B,
                                    int64_t K, int64_t C, int64_t P, int64_t clips, int type,
                                    [[maybe_unused]] int threads) {
  invert(index, inverse, B, clips * P, {0, K});
  return with_type(type, [&](auto zero) {
    using Out = decltype(zero);
    using Real = typename Arithmetic<Out>::type;
#pragma omp parallel for num_threads(threads) if (B * clips * P * C > kWorthThreads)
    for (int64_t slot = 0; slot < B * clips * P; ++slot) {
      const Real* position = static_cast<const Real*>(positions) + slot % P * C;
      Out* to = static_cast<Out*>(out) + slot * C;
      if (inverse[slot] < 0) {
        add_row(static_cast<const Real*>(fill), position, C, to);
      } else {
        add_row(static_cast<const Out*>(tokens) + inverse[slot] * C, position, C, to);
      }
    }
    return 0;
  });
}

extern "C" int ivn_place_tokens_backward_cpu(const void* grad, const int64_t* index,
                                             void* grad_tokens, void* grad_positions,
                                             void* grad_fill, int64_t* inverse, int64_t B,
                                             int64_t K, int64_t C, int64_t P, int64_t clips,
                                             int64_t parts, int type,
                                             [[maybe_unused]] int threads) {
  invert(index, inverse, B, clips * P, {0, K});
  return with_type(type, [&](auto zero) {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    const std::vector<In> none(C, In{});
#pragma omp parallel for num_threads(threads) if (B * clips * P * C > kWorthThreads)
    for (int64_t part = 0; part < parts; ++part) {
      Real* own = static_cast<Real*>(grad_fill) + part * C;
      std::fill_n(own, C, Real{0});
      for (int64_t p = P * part / parts; p < P * (part + 1) / parts; ++p) {
        Real* sum = static_cast<Real*>(grad_positions) + p * C;
        std::fill_n(sum, C, Real{0});
        const In* four[4] = {none.data(), none.data(), none.data(), none.data()};
        int waiting = 0;
        for (int64_t slot = p; slot < B * clips * P; slot += P) {
          const In* from = static_cast<const In*>(grad) + slot * C;
          if (inverse[slot] < 0) {
            four[waiting++] = from;
          } else {
            sum_row(from, C, sum);
            std::copy_n(from, C, static_cast<In*>(grad_tokens) + inverse[slot] * C);
          }
          if (waiting == 4 || slot + P >= B * clips * P) {
            sum_four_rows(four, C, sum, own);
            std::fill_n(four, 4, none.data());
            waiting = 0;
          }
        }
      }
    }
    return 0;
  });
}
