#include <algorithm>

#include "ivn.h"
#include "random.h"
#include "types.h"

namespace {

using namespace ivn;

// Returns four words themselves, or as normal numbers.
template <typename Out>
struct Made {
  static __device__ Pack<Out, 4> of(const Words& words) {
    const Pair<Out> one = normal_pair<Out>(words.v[0], words.v[1]);
    const Pair<Out> two = normal_pair<Out>(words.v[2], words.v[3]);
    return {one.first, one.second, two.first, two.second};
  }
};
template <>
struct Made<int64_t> {
  static __device__ Pack<int64_t, 4> of(const Words& words) {
    return {words.v[0], words.v[1], words.v[2], words.v[3]};
  }
};

// A thread draws four words and writes four numbers, in one store if rows are whole packs.
template <typename Out, bool kWhole>
__global__ void draw(const int64_t* keys, Out* out, int64_t B, int64_t count, uint32_t purpose) {
  const int64_t parts = (count + 3) / 4;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < B * parts;
       i += stride) {
    const int64_t b = i / parts, start = i % parts * 4;
    const Pack<Out, 4> four =
        Made<Out>::of(random_words(keys + 4 * b, purpose, static_cast<uint32_t>(start / 4)));
    Out* to = out + b * count + start;
    if constexpr (kWhole) {
      *reinterpret_cast<Pack<Out, 4>*>(to) = four;
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (start + j < count) to[j] = four.element[j];
      }
    }
  }
}

template <typename Out>
int launch(const int64_t* keys, void* out, int64_t B, int64_t count, uint32_t purpose,
           void* stream) {
  if (B * count == 0) return 0;  // an empty grid is a launch error
  const int64_t blocks = std::min((B * ((count + 3) / 4) + 255) / 256, int64_t{1} << 20);
  const bool whole = count % 4 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
  const auto kernel = whole ? draw<Out, true> : draw<Out, false>;
  kernel<<<static_cast<unsigned>(blocks), 256, 0, static_cast<cudaStream_t>(stream)>>>(
      keys, static_cast<Out*>(out), B, count, purpose);
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_random_words_cuda(const int64_t* keys, int64_t* words, int64_t B, int64_t count,
                                     uint32_t purpose, void* stream) {
  return launch<int64_t>(keys, words, B, count, purpose, stream);
}

extern "C" int ivn_normal_cuda(const int64_t* keys, void* out, int64_t B, int64_t count,
                               uint32_t purpose, int type, void* stream) {
  if (type == IVN_FLOAT32) return launch<float>(keys, out, B, count, purpose, stream);
  if (type == IVN_FLOAT64) return launch<double>(keys, out, B, count, purpose, stream);
  return IVN_UNKNOWN_TYPE;
}
