#include <algorithm>

#include "ivn.h"
#include "random.h"

namespace {

using namespace ivn;

// A thread draws four words and writes four numbers.
template <typename Real>
__global__ void normals(const int64_t* keys, Real* out, int64_t B, int64_t count,
                        uint32_t purpose) {
  const int64_t parts = (count + 3) / 4;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < B * parts;
       i += stride) {
    const int64_t b = i / parts, start = i % parts * 4;
    const Words words = random_words(keys + 4 * b, purpose, static_cast<uint32_t>(start / 4));
    const Pair<Real> one = normal_pair<Real>(words.v[0], words.v[1]);
    const Pair<Real> two = normal_pair<Real>(words.v[2], words.v[3]);
    Real* to = out + b * count + start;
    const int64_t left = count - start;
    to[0] = one.first;
    if (left > 1) to[1] = one.second;
    if (left > 2) to[2] = two.first;
    if (left > 3) to[3] = two.second;
  }
}

__global__ void words(const int64_t* keys, int64_t* out, int64_t B, int64_t count,
                      uint32_t purpose) {
  const int64_t parts = (count + 3) / 4;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < B * parts;
       i += stride) {
    const int64_t b = i / parts, start = i % parts * 4;
    const Words drawn = random_words(keys + 4 * b, purpose, static_cast<uint32_t>(start / 4));
    int64_t* to = out + b * count + start;
    const int64_t left = count - start;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j < left) to[j] = drawn.v[j];
    }
  }
}

unsigned blocks_for(int64_t B, int64_t count) {
  return static_cast<unsigned>(std::min((B * ((count + 3) / 4) + 255) / 256, int64_t{1} << 20));
}

template <typename Real>
int launch(const int64_t* keys, void* out, int64_t B, int64_t count, uint32_t purpose,
           void* stream) {
  if (B * count == 0) return 0;  // an empty grid is a launch error
  normals<<<blocks_for(B, count), 256, 0, static_cast<cudaStream_t>(stream)>>>(
      keys, static_cast<Real*>(out), B, count, purpose);
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_random_words_cuda(const int64_t* keys, int64_t* out, int64_t B, int64_t count,
                                     uint32_t purpose, void* stream) {
  if (B * count == 0) return 0;
  words<<<blocks_for(B, count), 256, 0, static_cast<cudaStream_t>(stream)>>>(keys, out, B, count,
                                                                             purpose);
  return cudaGetLastError();
}

extern "C" int ivn_normal_cuda(const int64_t* keys, void* out, int64_t B, int64_t count,
                               uint32_t purpose, int type, void* stream) {
  if (type == IVN_FLOAT32) return launch<float>(keys, out, B, count, purpose, stream);
  if (type == IVN_FLOAT64) return launch<double>(keys, out, B, count, purpose, stream);
  return IVN_UNKNOWN_TYPE;
}
