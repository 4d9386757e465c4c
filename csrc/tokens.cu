#include <algorithm>

#include "ivn.h"

namespace {

constexpr int64_t kMostBlocks = 1 << 20;  // blocks stride over the rows: no limit on their number

int blocks_for(int64_t work) { return static_cast<int>(std::min(work, kMostBlocks)); }

int threads_for(int64_t words) {
  return static_cast<int>(words < 256 ? (words + 31) / 32 * 32 : 256);
}

// One block copies one row. Word is the widest type that divides row_bytes and its alignment.
template <typename Word>
__global__ void gather_rows(const Word* source, const int64_t* index, Word* destination,
                            int64_t rows, int64_t N, int64_t M, int64_t words) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {  // b * M + m
    const Word* from = source + (row / M * N + index[row]) * words;
    Word* to = destination + row * words;
    for (int64_t i = threadIdx.x; i < words; i += blockDim.x) to[i] = from[i];
  }
}

__global__ void invert(const int64_t* index, int64_t* inverse, int64_t rows, int64_t N, int64_t M) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; row < rows;
       row += stride) {
    inverse[row / M * N + index[row]] = row;
  }
}

// One block writes one destination row, b * N + n: a copy, or zeros where inverse is -1.
template <typename Word>
__global__ void scatter_rows(const Word* source, const int64_t* inverse, Word* destination,
                             int64_t rows, int64_t words) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t origin = inverse[row];
    const Word* from = source + origin * words;
    Word* to = destination + row * words;
    for (int64_t i = threadIdx.x; i < words; i += blockDim.x) to[i] = origin < 0 ? Word{} : from[i];
  }
}

// Whether rows can be copied 16 bytes at a time.
bool wide(const void* source, const void* destination, int64_t row_bytes) {
  const auto address =
      reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(destination);
  return row_bytes % 16 == 0 && address % 16 == 0;
}

template <typename Word>
int gather(const void* source, const int64_t* index, void* destination, int64_t B, int64_t N,
           int64_t M, int64_t row_bytes, cudaStream_t stream) {
  const int64_t words = row_bytes / static_cast<int64_t>(sizeof(Word));
  gather_rows<<<blocks_for(B * M), threads_for(words), 0, stream>>>(
      static_cast<const Word*>(source), index, static_cast<Word*>(destination), B * M, N, M, words);
  return cudaGetLastError();
}

template <typename Word>
int scatter(const void* source, const int64_t* inverse, void* destination, int64_t rows,
            int64_t row_bytes, cudaStream_t stream) {
  const int64_t words = row_bytes / static_cast<int64_t>(sizeof(Word));
  scatter_rows<<<blocks_for(rows), threads_for(words), 0, stream>>>(
      static_cast<const Word*>(source), inverse, static_cast<Word*>(destination), rows, words);
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_gather_tokens_cuda(const void* source, const int64_t* index, void* destination,
                                      int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                                      void* stream) {
  if (B * M == 0 || row_bytes == 0) return 0;  // an empty grid is a launch error
  const auto s = static_cast<cudaStream_t>(stream);
  return wide(source, destination, row_bytes)
             ? gather<uint4>(source, index, destination, B, N, M, row_bytes, s)
             : gather<uint8_t>(source, index, destination, B, N, M, row_bytes, s);
}

extern "C" int ivn_scatter_tokens_cuda(const void* source, const int64_t* index, void* destination,
                                       int64_t* inverse, int64_t B, int64_t N, int64_t M,
                                       int64_t row_bytes, void* stream) {
  if (B * N == 0 || row_bytes == 0) return 0;
  const auto s = static_cast<cudaStream_t>(stream);
  const cudaError_t cleared = cudaMemsetAsync(inverse, 0xFF, B * N * sizeof(int64_t), s);  // -1
  if (cleared != cudaSuccess) return cleared;
  if (M > 0) {
    invert<<<blocks_for((B * M + 255) / 256), 256, 0, s>>>(index, inverse, B * M, N, M);
    const cudaError_t launched = cudaGetLastError();
    if (launched != cudaSuccess) return launched;
  }
  return wide(source, destination, row_bytes)
             ? scatter<uint4>(source, inverse, destination, B * N, row_bytes, s)
             : scatter<uint8_t>(source, inverse, destination, B * N, row_bytes, s);
}
