#include <algorithm>

#include "ivn.h"
#include "masking.h"

namespace {

using namespace ivn;

constexpr int kThreads = 256;
constexpr int kLanes = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFF;
constexpr int kSharedBytes = 48 * 1024;  // available on every GPU without a request
constexpr int kFixedBytes = 2 * 1024;    // at most this many of them are a kernel's own arrays
constexpr int64_t kMostBlocks = 1 << 20;

IVN_BOTH int padded(int count, int to) { return (count + to - 1) / to * to; }

// Writes the first `limit` numbers below `count` that `chosen` accepts, ascending and plus `start`.
// All threads of the block take part; `ballots` holds a word for each 32 numbers.
template <typename Chosen>
__device__ void write_chosen(int count, int limit, int64_t start, uint32_t* ballots, int64_t* index,
                             const Chosen& chosen) {
  for (int i = threadIdx.x; i < padded(count, kLanes); i += blockDim.x) {
    const uint32_t ballot = __ballot_sync(kAllLanes, i < count && chosen(i));
    if (i % kLanes == 0) ballots[i / kLanes] = ballot;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    const uint32_t own = ballots[i / kLanes], bit = 1u << i % kLanes;
    if (!(own & bit)) continue;
    int place = __popc(own & (bit - 1));
    for (int word = 0; word < i / kLanes; ++word) place += __popc(ballots[word]);
    if (place < limit) index[place] = start + i;
  }
  __syncthreads();
}

// One block per row. A token is kept if fewer than `kept` tokens come before it.
template <typename Weight>
__global__ void sample_tokens(const Weight* weights, const int64_t* keys, int64_t* index,
                              int64_t rows, int64_t T, int L, int kept, int drawn,
                              uint32_t purpose) {
  extern __shared__ double arrivals[];
  auto* ballots = reinterpret_cast<uint32_t*>(arrivals + L);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t start = row % T * L;
    for (int i = threadIdx.x; i < L; i += blockDim.x) {
      const auto weight = static_cast<double>(weights[row * L + i]);
      if (!drawn) {
        arrivals[i] = -weight;
        continue;
      }
      const auto draw = static_cast<uint32_t>(start + i);
      const Words words = random_words(keys + row / T * 4, purpose, draw / 4);
      // Selected, not indexed: an index known only at run time would put the words in memory.
      const uint32_t low = draw & 1 ? words.v[1] : words.v[0];
      const uint32_t high = draw & 1 ? words.v[3] : words.v[2];
      arrivals[i] = arrival(draw & 2 ? high : low, weight);
    }
    __syncthreads();
    write_chosen(L, kept, start, ballots, index + row * kept, [&](int i) {
      const double own = arrivals[i];
      int before = 0;
      for (int j = 0; j < L; ++j) {
        before += arrivals[j] < own || (arrivals[j] == own && j < i);
      }
      return before < kept;
    });
  }
}

// One thread block per clip. Every place is compared with each of the drawn blocks.
__global__ void hide_blocks(const int64_t* keys, uint8_t* hidden, int rows, int columns, int count,
                            int height, int width, int attempts, uint32_t purpose) {
  const int64_t b = blockIdx.x;
  const int L = rows * columns;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    bool open = false;
    for (int place = threadIdx.x; place < L; place += blockDim.x) {
      const int y = place / columns, x = place % columns;
      bool inside = false;
      for (int i = 0; i < count; ++i) {
        const Corner corner =
            corner_of(keys + 4 * b, purpose + attempt, i, rows - height + 1, columns - width + 1);
        inside |= y >= corner.row && y < corner.row + height && x >= corner.column &&
                  x < corner.column + width;
      }
      hidden[b * L + place] = inside;
      open |= !inside;
    }
    if (__syncthreads_or(open)) return;
  }
}

// Finds the `rank`-th smallest of the open tokens' words, counted from 1, byte by byte from the
// highest: each time the tokens that agree so far are counted by their next byte.
struct Ranked {
  uint32_t word;
  int rank;  // among the tokens of this word
};

__device__ Ranked ranked_word(const uint32_t* words, const uint8_t* places, int N, int L,
                              int rank) {
  __shared__ int counts[256];
  __shared__ Ranked found;
  if (threadIdx.x == 0) found = {0, rank};
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    for (int n = threadIdx.x; n < N; n += blockDim.x) {
      const bool agrees = shift == 24 || words[n] >> (shift + 8) == found.word;
      if (agrees && !places[n % L]) atomicAdd(counts + (words[n] >> shift & 255), 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int byte = 0;
      // Bounded, so that a row with fewer open tokens than `kept` stays within the counts.
      for (; byte < 255 && counts[byte] < found.rank; ++byte) found.rank -= counts[byte];
      found.word = found.word << 8 | byte;
    }
    __syncthreads();
  }
  return found;
}

// One block a clip.
__global__ void open_tokens(const uint8_t* hidden, const int64_t* keys, int64_t* index, int T,
                            int L, int kept, int shuffled, uint32_t purpose) {
  extern __shared__ uint32_t words[];
  const int N = T * L;
  uint32_t* ballots = words + padded(N, 4);
  const int64_t b = blockIdx.x;
  const uint8_t* places = hidden + b * L;
  if (!shuffled) {
    write_chosen(N, kept, 0, ballots, index + b * kept, [&](int n) { return !places[n % L]; });
    return;
  }
  for (int i = threadIdx.x; i < padded(N, 4) / 4; i += blockDim.x) {
    const Words four = random_words(keys + 4 * b, purpose, i);
    for (int j = 0; j < 4; ++j) words[4 * i + j] = four.v[j];
  }
  __syncthreads();
  const Ranked last = ranked_word(words, places, N, L, kept);
  write_chosen(N, kept, 0, ballots, index + b * kept, [&](int n) {
    if (places[n % L] || words[n] > last.word) return false;
    if (words[n] < last.word) return true;
    int before = 0;
    for (int m = 0; m < n; ++m) before += !places[m % L] && words[m] == last.word;
    return before < last.rank;
  });
}

// One block a clip.
__global__ void other_tokens(const int64_t* index, int64_t* rest, int64_t N, int64_t M) {
  extern __shared__ uint32_t inside[];
  const int words = static_cast<int>((N + kLanes - 1) / kLanes);
  const int64_t b = blockIdx.x;
  for (int i = threadIdx.x; i < words; i += blockDim.x) inside[i] = 0;
  __syncthreads();
  for (int64_t m = threadIdx.x; m < M; m += blockDim.x) {
    const int64_t n = index[b * M + m];
    atomicOr(inside + n / kLanes, 1u << n % kLanes);
  }
  __syncthreads();
  write_chosen(static_cast<int>(N), static_cast<int>(N - M), 0, inside + words, rest + b * (N - M),
               [&](int n) { return !(inside[n / kLanes] >> n % kLanes & 1); });
}

// A block that uses more than 48 KB of shared memory has to request it.
template <typename Kernel>
int with_shared(Kernel kernel, int64_t bytes) {
  if (bytes <= kSharedBytes - kFixedBytes) return 0;
  int device = 0, most = 0;
  if (const cudaError_t error = cudaGetDevice(&device)) return error;
  const auto limit = cudaDevAttrMaxSharedMemoryPerBlockOptin;
  if (const cudaError_t error = cudaDeviceGetAttribute(&most, limit, device)) return error;
  if (bytes > most - kFixedBytes) return IVN_TOO_MANY_TOKENS;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

template <typename Weight>
int sample(const void* weights, const int64_t* keys, int64_t* index, int64_t B, int64_t T,
           int64_t L, int64_t kept, int drawn, uint32_t purpose, cudaStream_t stream) {
  const int64_t bytes = L * 8 + padded(static_cast<int>(L), kLanes) / 8;
  if (const int error = with_shared(sample_tokens<Weight>, bytes)) return error;
  const auto blocks = static_cast<unsigned>(std::min(B * T, kMostBlocks));
  sample_tokens<<<blocks, kThreads, bytes, stream>>>(static_cast<const Weight*>(weights), keys,
                                                     index, B * T, T, static_cast<int>(L),
                                                     static_cast<int>(kept), drawn, purpose);
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_sample_tokens_cuda(const void* weights, const int64_t* keys, int64_t* index,
                                      int64_t B, int64_t T, int64_t L, int64_t kept, int drawn,
                                      uint32_t purpose, int type, void* stream) {
  if (B * T * L == 0) return 0;  // an empty grid is a launch error
  const auto s = static_cast<cudaStream_t>(stream);
  if (type == IVN_FLOAT32)
    return sample<float>(weights, keys, index, B, T, L, kept, drawn, purpose, s);
  if (type == IVN_FLOAT64)
    return sample<double>(weights, keys, index, B, T, L, kept, drawn, purpose, s);
  return IVN_UNKNOWN_TYPE;
}

extern "C" int ivn_hide_blocks_cuda(const int64_t* keys, uint8_t* hidden, int64_t B, int64_t rows,
                                    int64_t columns, int count, int height, int width, int attempts,
                                    uint32_t purpose, void* stream) {
  if (B == 0) return 0;
  hide_blocks<<<static_cast<unsigned>(B), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      keys, hidden, static_cast<int>(rows), static_cast<int>(columns), count, height, width,
      attempts, purpose);
  return cudaGetLastError();
}

extern "C" int ivn_open_tokens_cuda(const uint8_t* hidden, const int64_t* keys, int64_t* index,
                                    int64_t B, int64_t T, int64_t L, int64_t kept, int shuffled,
                                    uint32_t purpose, void* stream) {
  if (B * kept == 0) return 0;
  const int N = static_cast<int>(T * L);
  const int64_t bytes = padded(N, 4) * 4 + padded(N, kLanes) / 8;
  if (const int error = with_shared(open_tokens, bytes)) return error;
  open_tokens<<<static_cast<unsigned>(B), 1024, bytes, static_cast<cudaStream_t>(stream)>>>(
      hidden, keys, index, static_cast<int>(T), static_cast<int>(L), static_cast<int>(kept),
      shuffled, purpose);
  return cudaGetLastError();
}

extern "C" int ivn_other_tokens_cuda(const int64_t* index, int64_t* rest, int64_t B, int64_t N,
                                     int64_t M, void* stream) {
  if (B * (N - M) == 0) return 0;
  const int64_t bytes = padded(static_cast<int>(N), kLanes) / 8 * 2;
  if (const int error = with_shared(other_tokens, bytes)) return error;
  other_tokens<<<static_cast<unsigned>(B), 1024, bytes, static_cast<cudaStream_t>(stream)>>>(
      index, rest, N, M);
  return cudaGetLastError();
}
