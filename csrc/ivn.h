// The C interface of libivn.so: what Python may call. Raw pointers, sizes, a stream.
//
// Every operation returns 0 or an error code that ivn_error_string() turns into words.
// Callers guarantee contiguous memory, matching shapes and indices in range.
// CPU versions take the number of threads: PyTorch may carry an OpenMP runtime of its own, so
// the caller's torch.set_num_threads would not reach ours.
#pragma once

#include <stdint.h>

// Raised with every change of a signature, so that Python never calls a library built before it.
#define IVN_INTERFACE 1

#define IVN_DUPLICATE_INDEX (-1)
#define IVN_UNKNOWN_TYPE (-2)

// The element type of a result.
#define IVN_FLOAT32 0
#define IVN_FLOAT64 1
#define IVN_BFLOAT16 2

// What a row of gathered patches holds.
#define IVN_EMBEDDING_ROWS 0  // (p, p, 3), channels fastest, divided by the root mean square
#define IVN_TARGET_ROWS 1     // (3, p, p), channels slowest

#ifdef __cplusplus
extern "C" {
#endif

int ivn_interface(void);
const char* ivn_error_string(int code);

// The archs the CUDA part was built for, as in "80,90"; "" when it was built without CUDA.
const char* ivn_cuda_archs(void);

// The version of the CUDA runtime inside, as in 13000 for 13.0; 0 without CUDA.
int ivn_cuda_version(void);

// The date of the OpenMP standard the CPU part was built with, as in 201511; 0 without OpenMP.
int ivn_openmp(void);

// destination[b, m, :] = source[b, index[b, m], :]; a row is `row_bytes` long.
// source [B, N, row], index [B, M] int64, destination [B, M, row].
int ivn_gather_tokens_cpu(const void* source, const int64_t* index, void* destination, int64_t B,
                          int64_t N, int64_t M, int64_t row_bytes, int threads);
int ivn_gather_tokens_cuda(const void* source, const int64_t* index, void* destination, int64_t B,
                           int64_t N, int64_t M, int64_t row_bytes, void* stream);

// destination[b, index[b, m], :] = source[b, m, :], the other rows 0. Each destination row is
// written once, from the inverse of the index: no row twice in an index, nothing to zero first.
// source [B, M, row], index [B, M] int64, destination [B, N, row], inverse [B, N] int64 scratch.
int ivn_scatter_tokens_cpu(const void* source, const int64_t* index, void* destination,
                           int64_t* inverse, int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                           int threads);
int ivn_scatter_tokens_cuda(const void* source, const int64_t* index, void* destination,
                            int64_t* inverse, int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                            void* stream);

// rows[b, k, :] = the pixels v * scale[c] + shift[c] of patch index[b, k] of the grid
// (T, H / p, W / p), laid out and divided as `layout` says.
// video uint8 [B, T, H, W, 3], index int64 [B, K], rows `type` [B, K, 3 * p * p];
// affine: 6 doubles on the host, scale then shift, per channel.
int ivn_gather_patches_cpu(const uint8_t* video, const int64_t* index, void* rows, int64_t B,
                           int64_t T, int64_t H, int64_t W, int64_t K, int patch_size,
                           const double* affine, double eps, int type, int layout, int threads);
int ivn_gather_patches_cuda(const uint8_t* video, const int64_t* index, void* rows, int64_t B,
                            int64_t T, int64_t H, int64_t W, int64_t K, int patch_size,
                            const double* affine, double eps, int type, int layout, void* stream);

#ifdef __cplusplus
}
#endif
