#include <algorithm>

#include "ivn.h"
#include "tokens.h"

namespace {

using namespace ivn;

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kMostColumns = 512;  // threads of a block that sums: one for each pack of a row
constexpr int64_t kMostBlocks = 1 << 20;  // blocks stride over the rows: no limit on their number

unsigned blocks_for(int64_t work) { return static_cast<unsigned>(std::min(work, kMostBlocks)); }

unsigned blocks_of_warps(int64_t rows) { return blocks_for((rows + kWarps - 1) / kWarps); }

// How many elements are loaded at once where rows and pointers allow it: 16 bytes.
template <typename In>
constexpr int widest() {
  return 16 / static_cast<int>(sizeof(In));
}

template <typename... Pointers>
bool wide(int64_t elements, int width, const Pointers*... pointers) {
  return elements % width == 0 && ((reinterpret_cast<uintptr_t>(pointers) | ...) % 16) == 0;
}

// Calls run(row) for each row, with one warp per row.
template <typename Run>
__device__ void for_each_row(int64_t rows, const Run& run) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes; row < rows;
       row += stride) {
    run(row);
  }
}

template <typename Word>
__device__ void copy_row(const Word* __restrict__ from, Word* __restrict__ to, int64_t words) {
#pragma unroll 4
  for (int64_t i = threadIdx.x % kLanes; i < words; i += kLanes) to[i] = from[i];
}

template <typename Word>
__global__ void gather_tokens(const Word* __restrict__ source, const int64_t* __restrict__ index,
                              Word* __restrict__ destination, int64_t rows, int64_t N, int64_t M,
                              int64_t words) {
  for_each_row(rows, [&](int64_t row) {  // b * M + m
    copy_row(source + (row / M * N + index[row]) * words, destination + row * words, words);
  });
}

// One thread inverts one entry: inverse[b, index[b, k]] = place of its row among those of `behind`.
__global__ void invert_index(const int64_t* index, int64_t* inverse, int64_t count, int64_t N,
                             Behind behind) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t token = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; token < count;
       token += stride) {
    inverse[token / behind.K * N + index[token]] = behind.row_of(token);
  }
}

// A warp writes one destination row, b * N + n: a copy, or zeros where inverse is -1.
template <typename Word>
__global__ void scatter_tokens(const Word* __restrict__ source, const int64_t* __restrict__ inverse,
                               Word* __restrict__ destination, int64_t rows, int64_t words) {
  for_each_row(rows, [&](int64_t row) {
    const int64_t origin = inverse[row];
    Word* to = destination + row * words;
    if (origin >= 0) {
      copy_row(source + origin * words, to, words);
    } else {
      for (int64_t i = threadIdx.x % kLanes; i < words; i += kLanes) to[i] = Word{};
    }
  });
}

template <int kWidth, typename In, typename Real, typename Out>
__device__ void add_row(const In* __restrict__ from, const Real* __restrict__ position, int64_t C,
                        Out* __restrict__ to) {
  const auto* tokens = reinterpret_cast<const Pack<In, kWidth>*>(from);
  const auto* positions = reinterpret_cast<const Pack<Real, kWidth>*>(position);
  auto* out = reinterpret_cast<Pack<Out, kWidth>*>(to);
#pragma unroll 4
  for (int64_t i = threadIdx.x % kLanes; i < C / kWidth; i += kLanes) {
    const Pack<In, kWidth> token = tokens[i];
    const Pack<Real, kWidth> place = positions[i];
    Pack<Out, kWidth> sum;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      sum.element[j] = positioned<Out>(token.element[j], place.element[j]);
    }
    out[i] = sum;
  }
}

template <int kWidth, typename In, typename Real, typename Out>
__global__ void add_positions(const In* __restrict__ tokens, const int64_t* __restrict__ index,
                              const Real* __restrict__ positions, const Real* __restrict__ heads,
                              Out* __restrict__ out, int64_t B, int64_t C, int64_t P, Behind behind,
                              int64_t batch_stride) {
  for_each_row(B * behind.rows(), [&](int64_t row) {
    const int64_t b = row / behind.rows(), k = row % behind.rows() - behind.H;
    Out* to = out + row * C;
    if (k < 0) {
      const int64_t head = (behind.H + k) * C;
      add_row<kWidth>(heads + head, positions + head, C, to);
    } else {
      const Real* position = positions + position_of(index[b * behind.K + k], P) * C;
      add_row<kWidth>(tokens + b * batch_stride + k * C, position, C, to);
    }
  });
}

template <int kWidth, typename Out, typename Real>
__global__ void place_tokens(const Out* __restrict__ tokens, const int64_t* __restrict__ inverse,
                             const Real* __restrict__ fill, const Real* __restrict__ positions,
                             Out* __restrict__ out, int64_t slots, int64_t C, int64_t P) {
  for_each_row(slots, [&](int64_t slot) {
    const int64_t origin = inverse[slot];
    const Real* position = positions + position_of(slot, P) * C;
    Out* to = out + slot * C;
    if (origin < 0) {
      add_row<kWidth>(fill, position, C, to);
    } else {
      add_row<kWidth>(tokens + origin * C, position, C, to);
    }
  });
}

template <int kWidth, typename In, typename Real>
__device__ void add_to(Pack<Real, kWidth>& sum, const Pack<In, kWidth>& pack) {
#pragma unroll
  for (int j = 0; j < kWidth; ++j) sum.element[j] += static_cast<Real>(widened(pack.element[j]));
}

// A block sums the rows that one position was added to, each thread a pack, in a fixed order.
template <int kWidth, typename In, typename Real>
__global__ void sum_positions(const In* __restrict__ grad, const int64_t* __restrict__ inverse,
                              Real* __restrict__ grad_positions, Real* __restrict__ grad_heads,
                              int64_t B, int64_t C, int64_t P, int64_t clips, Behind behind) {
  const int64_t packs = C / kWidth;
  const auto* from = reinterpret_cast<const Pack<In, kWidth>*>(grad);
  auto* to = reinterpret_cast<Pack<Real, kWidth>*>(grad_positions);
  auto* to_heads = reinterpret_cast<Pack<Real, kWidth>*>(grad_heads);
  for (int64_t p = blockIdx.x; p < P; p += gridDim.x) {
    for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
      Pack<Real, kWidth> sum = {};
      if (p < behind.H) {
#pragma unroll 4
        for (int64_t b = 0; b < B; ++b) add_to(sum, from[(b * behind.rows() + p) * packs + i]);
        to_heads[p * packs + i] = sum;
      }
#pragma unroll 4
      for (int64_t clip = 0; clip < B * clips; ++clip) {
        const int64_t row = inverse[clip * P + p];
        if (row >= 0) add_to(sum, from[row * packs + i]);
      }
      to[p * packs + i] = sum;
    }
  }
}

// One pass over the gradient: block `part` takes every gridDim.x-th position, copies the rows of
// tokens out, and sums the position's rows and, over all its positions, those without a token.
template <int kWidth, typename In, typename Real>
__global__ void place_tokens_backward(const In* __restrict__ grad,
                                      const int64_t* __restrict__ inverse,
                                      In* __restrict__ grad_tokens,
                                      Real* __restrict__ grad_positions,
                                      Real* __restrict__ grad_fill, int64_t slots, int64_t C,
                                      int64_t P) {
  const int64_t packs = C / kWidth;
  const auto* from = reinterpret_cast<const Pack<In, kWidth>*>(grad);
  auto* tokens = reinterpret_cast<Pack<In, kWidth>*>(grad_tokens);
  auto* positions = reinterpret_cast<Pack<Real, kWidth>*>(grad_positions);
  auto* fills = reinterpret_cast<Pack<Real, kWidth>*>(grad_fill);
  for (int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
    Pack<Real, kWidth> fill = {};
    for (int64_t p = blockIdx.x; p < P; p += gridDim.x) {
      Pack<Real, kWidth> sum = {};
#pragma unroll 4
      for (int64_t slot = p; slot < slots; slot += P) {
        const Pack<In, kWidth> pack = from[slot * packs + i];
        const int64_t origin = inverse[slot];
        add_to(sum, pack);
        if (origin < 0) {
          add_to(fill, pack);
        } else {
          tokens[origin * packs + i] = pack;
        }
      }
      positions[p * packs + i] = sum;
    }
    fills[blockIdx.x * packs + i] = fill;
  }
}

int invert(const int64_t* index, int64_t* inverse, int64_t B, int64_t N, const Behind& behind,
           cudaStream_t stream) {
  const cudaError_t cleared =
      cudaMemsetAsync(inverse, 0xFF, B * N * sizeof(int64_t), stream);  // -1
  const int64_t count = B * behind.K;
  if (cleared != cudaSuccess || count == 0) return cleared;
  invert_index<<<blocks_for((count + 255) / 256), 256, 0, stream>>>(index, inverse, count, N,
                                                                    behind);
  return cudaGetLastError();
}

int threads_for(int64_t packs) {
  const int64_t rounded_up = (packs + kLanes - 1) / kLanes * kLanes;
  return static_cast<int>(std::min<int64_t>(rounded_up, kMostColumns));
}

template <typename Word>
int gather(const void* source, const int64_t* index, void* destination, int64_t B, int64_t N,
           int64_t M, int64_t row_bytes, cudaStream_t stream) {
  gather_tokens<<<blocks_of_warps(B * M), kWarps * kLanes, 0, stream>>>(
      static_cast<const Word*>(source), index, static_cast<Word*>(destination), B * M, N, M,
      row_bytes / static_cast<int64_t>(sizeof(Word)));
  return cudaGetLastError();
}

template <typename Word>
int scatter(const void* source, const int64_t* inverse, void* destination, int64_t rows,
            int64_t row_bytes, cudaStream_t stream) {
  scatter_tokens<<<blocks_of_warps(rows), kWarps * kLanes, 0, stream>>>(
      static_cast<const Word*>(source), inverse, static_cast<Word*>(destination), rows,
      row_bytes / static_cast<int64_t>(sizeof(Word)));
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_gather_tokens_cuda(const void* source, const int64_t* index, void* destination,
                                      int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                                      void* stream) {
  if (B * M == 0 || row_bytes == 0) return 0;  // an empty grid is a launch error
  const auto s = static_cast<cudaStream_t>(stream);
  const auto run = wide(row_bytes, 16, source, destination) ? gather<uint4> : gather<uint8_t>;
  return run(source, index, destination, B, N, M, row_bytes, s);
}

extern "C" int ivn_scatter_tokens_cuda(const void* source, const int64_t* index, void* destination,
                                       int64_t* inverse, int64_t B, int64_t N, int64_t M,
                                       int64_t row_bytes, void* stream) {
  if (B * N == 0 || row_bytes == 0) return 0;
  const auto s = static_cast<cudaStream_t>(stream);
  if (const int error = invert(index, inverse, B, N, {0, M}, s)) return error;
  const auto run = wide(row_bytes, 16, source, destination) ? scatter<uint4> : scatter<uint8_t>;
  return run(source, inverse, destination, B * N, row_bytes, s);
}

extern "C" int ivn_add_positions_cuda(const void* tokens, const int64_t* index,
                                      const void* positions, const void* heads, void* out,
                                      int64_t B, int64_t K, int64_t C, int64_t P, int64_t H,
                                      int64_t batch_stride, int out_type, int token_type,
                                      void* stream) {
  if (B * (H + K) * C == 0) return 0;
  return with_types(out_type, token_type, [&](auto out_zero, auto token_zero) -> int {
    using Out = decltype(out_zero);
    using In = decltype(token_zero);
    using Real = typename Arithmetic<Out>::type;
    constexpr int kWidest = widest<In>();
    const bool fits =
        wide(C, kWidest, tokens, positions, heads, out) && batch_stride % kWidest == 0;
    const auto kernel =
        fits ? add_positions<kWidest, In, Real, Out> : add_positions<1, In, Real, Out>;
    const auto s = static_cast<cudaStream_t>(stream);
    kernel<<<blocks_of_warps(B * (H + K)), kWarps * kLanes, 0, s>>>(
        static_cast<const In*>(tokens), index, static_cast<const Real*>(positions),
        static_cast<const Real*>(heads), static_cast<Out*>(out), B, C, P, {H, K}, batch_stride);
    return cudaGetLastError();
  });
}

extern "C" int ivn_add_positions_backward_cuda(const void* grad, const int64_t* index,
                                               void* grad_positions, void* grad_heads,
                                               int64_t* inverse, int64_t B, int64_t K, int64_t C,
                                               int64_t P, int64_t H, int64_t clips, int type,
                                               void* stream) {
  if (P * C == 0) return 0;
  const auto s = static_cast<cudaStream_t>(stream);
  if (const int error = invert(index, inverse, B, clips * P, {H, K}, s)) return error;
  return with_type(type, [&](auto zero) -> int {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    constexpr int kWidest = widest<In>();
    const bool fits = wide(C, kWidest, grad, grad_positions, grad_heads);
    const auto kernel = fits ? sum_positions<kWidest, In, Real> : sum_positions<1, In, Real>;
    kernel<<<blocks_for(P), threads_for(fits ? C / kWidest : C), 0, s>>>(
        static_cast<const In*>(grad), inverse, static_cast<Real*>(grad_positions),
        static_cast<Real*>(grad_heads), B, C, P, clips, {H, K});
    return cudaGetLastError();
  });
}

extern "C" int ivn_place_tokens_cuda(const void* tokens, const int64_t* index, const void* fill,
                                     const void* positions, void* out, int64_t* inverse, int64_t B,
                                     int64_t K, int64_t C, int64_t P, int64_t clips, int type,
                                     void* stream) {
  const int64_t slots = B * clips * P;
  if (slots * C == 0) return 0;
  const auto s = static_cast<cudaStream_t>(stream);
  if (const int error = invert(index, inverse, B, clips * P, {0, K}, s)) return error;
  return with_type(type, [&](auto zero) -> int {
    using Out = decltype(zero);
    using Real = typename Arithmetic<Out>::type;
    constexpr int kWidest = widest<Out>();
    const bool fits = wide(C, kWidest, tokens, fill, positions, out);
    const auto kernel = fits ? place_tokens<kWidest, Out, Real> : place_tokens<1, Out, Real>;
    kernel<<<blocks_of_warps(slots), kWarps * kLanes, 0, s>>>(
        static_cast<const Out*>(tokens), inverse, static_cast<const Real*>(fill),
        static_cast<const Real*>(positions), static_cast<Out*>(out), slots, C, P);
    return cudaGetLastError();
  });
}

extern "C" int ivn_place_tokens_backward_cuda(const void* grad, const int64_t* index,
                                              void* grad_tokens, void* grad_positions,
                                              void* grad_fill, int64_t* inverse, int64_t B,
                                              int64_t K, int64_t C, int64_t P, int64_t clips,
                                              int64_t parts, int type, void* stream) {
  if (P * C == 0) return 0;
  const auto s = static_cast<cudaStream_t>(stream);
  if (const int error = invert(index, inverse, B, clips * P, {0, K}, s)) return error;
  return with_type(type, [&](auto zero) -> int {
    using In = decltype(zero);
    using Real = typename Arithmetic<In>::type;
    constexpr int kWidest = widest<In>();
    const bool fits = wide(C, kWidest, grad, grad_tokens, grad_positions, grad_fill);
    const auto kernel =
        fits ? place_tokens_backward<kWidest, In, Real> : place_tokens_backward<1, In, Real>;
    kernel<<<static_cast<unsigned>(parts), threads_for(fits ? C / kWidest : C), 0, s>>>(
        static_cast<const In*>(grad), inverse, static_cast<In*>(grad_tokens),
        static_cast<Real*>(grad_positions), static_cast<Real*>(grad_fill), B * clips * P, C, P);
    return cudaGetLastError();
  });
}
