#include <algorithm>

#include "patches.h"

namespace {

using namespace ivn;

constexpr unsigned kAllLanes = 0xFFFFFFFF;
constexpr int kMostWarps = 8;
constexpr int kSharedBytes = 48 * 1024;  // available on every GPU without a request

__device__ uint32_t sum_over_warp(uint32_t value) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

__device__ ChannelSums channel_sums(const uint8_t* pixels, int count, int lane) {
  ChannelSums sums = {};
  for (int pixel = lane; pixel < count; pixel += kLanes) {
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const uint32_t v = pixels[3 * pixel + c];
      sums.v[c] += v;
      sums.v2[c] += v * v;
    }
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    sums.v[c] = sum_over_warp(sums.v[c]);
    sums.v2[c] = sum_over_warp(sums.v2[c]);
  }
  return sums;
}

// Selected, not indexed: an index known only at run time would put the arrays in memory.
template <typename Real>
__device__ Real of_channel(const Real (&values)[3], int c) {
  return c == 0 ? values[0] : c == 1 ? values[1] : values[2];
}

// A warp's share of shared memory: the bytes of a patch, rounded up to whole packs.
__host__ __device__ int staged_bytes(const PatchGrid& grid) { return (grid.row() + 15) / 16 * 16; }

// One warp makes one row: it stages the bytes of the patch in shared memory, sums them if the row
// is to be divided by its root mean square, and writes `kWidth` elements at a time.
template <typename Out, int kWidth, int kLayout>
__global__ __launch_bounds__(kMostWarps* kLanes, 5) void gather_patches(
    const uint8_t* __restrict__ video, const int64_t* __restrict__ index, Out* __restrict__ rows,
    int64_t count, int64_t bytes, PatchGrid grid, Affine pixel, double eps) {
  using Real = typename Arithmetic<Out>::type;
  extern __shared__ __align__(16) uint8_t staged[];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes, warps = blockDim.x / kLanes;
  const int elements = grid.row(), length = grid.length(kLayout), area = grid.p * grid.p;
  uint8_t* pixels = staged + warp * staged_bytes(grid);

  for (int64_t row = static_cast<int64_t>(blockIdx.x) * warps + warp; row < count;
       row += static_cast<int64_t>(gridDim.x) * warps) {
    const uint8_t* corner = video + grid.corner(row / grid.K, index[row]);
    stage(Around(corner, video, bytes), static_cast<int>(3 * grid.W), grid, lane, pixels);
    __syncwarp();

    Affine affine = pixel;
    if (kLayout == IVN_EMBEDDING_ROWS) {
      affine = divided_by_rms<Real>(pixel, channel_sums(pixels, area, lane), area, eps);
    }
    const Real scale[3] = {Real(affine.scale[0]), Real(affine.scale[1]), Real(affine.scale[2])};
    const Real shift[3] = {Real(affine.shift[0]), Real(affine.shift[1]), Real(affine.shift[2])};
    auto* packs = reinterpret_cast<Pack<Out, kWidth>*>(rows + row * length);
    for (int i = lane * kWidth; i < length; i += kLanes * kWidth) {
      // In an embedding row channels take turns: three coefficients serve the whole pack.
      const int turn = i % 3;
      const Real scales[3] = {of_channel(scale, turn), of_channel(scale, (turn + 1) % 3),
                              of_channel(scale, (turn + 2) % 3)};
      const Real shifts[3] = {of_channel(shift, turn), of_channel(shift, (turn + 1) % 3),
                              of_channel(shift, (turn + 2) % 3)};
      Pack<uint8_t, kWidth> in_turn;
      if (kLayout == IVN_EMBEDDING_ROWS) {
        in_turn = *reinterpret_cast<const Pack<uint8_t, kWidth>*>(pixels + i);
      }
      Pack<Out, kWidth> pack;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int e = i + j;
        Real value = 0;
        if (kLayout == IVN_TARGET_ROWS) {
          const int c = (e >= area) + (e >= 2 * area);
          const auto v = static_cast<Real>(pixels[3 * (e - c * area) + c]);
          value = v * of_channel(scale, c) + of_channel(shift, c);
        } else if (e < elements) {
          value = static_cast<Real>(in_turn.element[j]) * scales[j % 3] + shifts[j % 3];
        }
        pack.element[j] = rounded<Out>(value);
      }
      packs[i / kWidth] = pack;
    }
    __syncwarp();  // the next row's bytes overwrite these
  }
}

template <typename Out, int kWidth>
int launch(const uint8_t* video, const int64_t* index, Out* rows, int64_t B, const PatchGrid& grid,
           const Affine& pixel, double eps, int layout, cudaStream_t stream) {
  const int64_t count = B * grid.K, bytes = B * grid.T * grid.H * grid.W * 3;
  const int warps = std::min(kMostWarps, kSharedBytes / staged_bytes(grid));
  const int64_t blocks = std::min((count + warps - 1) / warps, int64_t{1} << 20);
  const auto kernel = layout == IVN_EMBEDDING_ROWS ? gather_patches<Out, kWidth, IVN_EMBEDDING_ROWS>
                                                   : gather_patches<Out, kWidth, IVN_TARGET_ROWS>;
  kernel<<<static_cast<unsigned>(blocks), warps * kLanes, warps * staged_bytes(grid), stream>>>(
      video, index, rows, count, bytes, grid, pixel, eps);
  return cudaGetLastError();
}

}  // namespace

extern "C" int ivn_gather_patches_cuda(const uint8_t* video, const int64_t* index, void* rows,
                                       int64_t B, int64_t T, int64_t H, int64_t W, int64_t K,
                                       int patch_size, const double* affine, double eps, int type,
                                       int layout, void* stream) {
  if (layout != IVN_EMBEDDING_ROWS && layout != IVN_TARGET_ROWS) return IVN_UNKNOWN_TYPE;
  if (B * K == 0) return 0;  // an empty grid is a launch error
  const PatchGrid grid = {T, H, W, K, patch_size};
  const Affine pixel = {{affine[0], affine[1], affine[2]}, {affine[3], affine[4], affine[5]}};
  const auto s = static_cast<cudaStream_t>(stream);
  return with_type(type, [&](auto zero) {
    using Out = decltype(zero);
    constexpr int kWidest = 16 / sizeof(Out), kHalf = kWidest / 2;
    Out* out = static_cast<Out*>(rows);
    const auto fits = [&](int width) {
      const auto bytes = static_cast<uintptr_t>(width) * sizeof(Out);
      return grid.length(layout) % width == 0 && reinterpret_cast<uintptr_t>(rows) % bytes == 0;
    };
    if (fits(kWidest))
      return launch<Out, kWidest>(video, index, out, B, grid, pixel, eps, layout, s);
    // Target rows in bf16 of patches whose size is no multiple of 4.
    if (fits(kHalf)) return launch<Out, kHalf>(video, index, out, B, grid, pixel, eps, layout, s);
    return launch<Out, 1>(video, index, out, B, grid, pixel, eps, layout, s);
  });
}
