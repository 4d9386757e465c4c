// The C interface of libivn.so: raw pointers, sizes, a stream. Python reads this file, too, to know
// the arguments of each function, and refuses a library that was built with another one.
//
// Every operation returns 0 or an error code that ivn_error_string() turns into words.
// Callers guarantee contiguous memory, matching shapes and indices in range.
// CPU versions take the number of threads: PyTorch may carry an OpenMP runtime of its own, so
// the caller's torch.set_num_threads would not reach ours.
#pragma once

#include <stdint.h>

#define IVN_DUPLICATE_INDEX (-1)
#define IVN_UNKNOWN_TYPE (-2)
#define IVN_INDEX_OUT_OF_RANGE (-3)
#define IVN_TOO_MANY_TOKENS (-4)

// The element type of a result.
#define IVN_FLOAT32 0
#define IVN_FLOAT64 1
#define IVN_BFLOAT16 2

// The number of partial sums, as rows, of a gradient of weights; the caller adds them.
#define IVN_NORM_PARTS 32

// The contents of a row of gathered patches.
#define IVN_EMBEDDING_ROWS \
  0                        // (p, p, 3), channels fastest, divided by the root mean square; zeros
                           // behind them up to a multiple of 8
#define IVN_TARGET_ROWS 1  // (3, p, p), channels slowest

#ifdef __cplusplus
extern "C" {
#endif

// The SHA-256 of this file when the library was built, in hexadecimal digits.
const char* ivn_header_digest(void);

const char* ivn_error_string(int code);

// The archs the CUDA part was built for, as in "80,90"; "" when it was built without CUDA.
const char* ivn_cuda_archs(void);

// The version of the CUDA runtime inside, as in 13000 for 13.0; 0 without CUDA.
int ivn_cuda_version(void);

// The date of the OpenMP standard the CPU part was built with, as in 201511; 0 without OpenMP.
int ivn_openmp(void);

// Returns 0 if index [B, M] holds numbers below N, none twice in a row. Otherwise returns
// IVN_INDEX_OUT_OF_RANGE or IVN_DUPLICATE_INDEX, with the first such row and number in found [2].
int ivn_check_index_cpu(const int64_t* index, int64_t* found, int64_t B, int64_t M, int64_t N,
                        int threads);

// destination[b, m, :] = source[b, index[b, m], :]; a row is `row_bytes` long.
// source [B, N, row], index [B, M] int64, destination [B, M, row].
int ivn_gather_tokens_cpu(const void* source, const int64_t* index, void* destination, int64_t B,
                          int64_t N, int64_t M, int64_t row_bytes, int threads);
int ivn_gather_tokens_cuda(const void* source, const int64_t* index, void* destination, int64_t B,
                           int64_t N, int64_t M, int64_t row_bytes, void* stream);

// destination[b, index[b, m], :] = source[b, m, :], the other rows 0. Each destination row is
// written once, from the inverse of the index: no number is twice in a row of the index, and
// nothing has to be set to 0 first.
// source [B, M, row], index [B, M] int64, destination [B, N, row], inverse [B, N] int64 scratch.
int ivn_scatter_tokens_cpu(const void* source, const int64_t* index, void* destination,
                           int64_t* inverse, int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                           int threads);
int ivn_scatter_tokens_cuda(const void* source, const int64_t* index, void* destination,
                            int64_t* inverse, int64_t B, int64_t N, int64_t M, int64_t row_bytes,
                            void* stream);

// In the following four a row of an index holds slots of a table with P positions, laid end to
// end `clips` times: slot s has position s % P. Real is double for IVN_FLOAT64, else float;
// `inverse` [B, clips * P] int64 is scratch.

// out[b, h] = heads[h] + positions[h] of H heads, out[b, H + k] = tokens[b, k] +
// positions[index[b, k] % P]. tokens [B, K, C] of `token_type`, batches `batch_stride` elements
// apart, index [B, K], positions [P, C] and heads [H, C] Real, out [B, H + K, C] of `out_type`.
int ivn_add_positions_cpu(const void* tokens, const int64_t* index, const void* positions,
                          const void* heads, void* out, int64_t B, int64_t K, int64_t C, int64_t P,
                          int64_t H, int64_t batch_stride, int out_type, int token_type,
                          int threads);
int ivn_add_positions_cuda(const void* tokens, const int64_t* index, const void* positions,
                           const void* heads, void* out, int64_t B, int64_t K, int64_t C, int64_t P,
                           int64_t H, int64_t batch_stride, int out_type, int token_type,
                           void* stream);
// The gradients of positions [P, C] and heads [H, C], Real, from grad [B, H + K, C] of `type`:
// each row is the sum, in the order of the slots, of the rows that it was added to.
int ivn_add_positions_backward_cpu(const void* grad, const int64_t* index, void* grad_positions,
                                   void* grad_heads, int64_t* inverse, int64_t B, int64_t K,
                                   int64_t C, int64_t P, int64_t H, int64_t clips, int type,
                                   int threads);
int ivn_add_positions_backward_cuda(const void* grad, const int64_t* index, void* grad_positions,
                                    void* grad_heads, int64_t* inverse, int64_t B, int64_t K,
                                    int64_t C, int64_t P, int64_t H, int64_t clips, int type,
                                    void* stream);

// out[b, s] = (the token whose index is s, else fill) + positions[s % P], s below clips * P.
// tokens [B, K, C] and out of `type`, index [B, K], fill [C] and positions [P, C] Real.
int ivn_place_tokens_cpu(const void* tokens, const int64_t* index, const void* fill,
                         const void* positions, void* out, int64_t* inverse, int64_t B, int64_t K,
                         int64_t C, int64_t P, int64_t clips, int type, int threads);
int ivn_place_tokens_cuda(const void* tokens, const int64_t* index, const void* fill,
                          const void* positions, void* out, int64_t* inverse, int64_t B, int64_t K,
                          int64_t C, int64_t P, int64_t clips, int type, void* stream);
// grad_tokens [B, K, C] of `type`, grad_positions [P, C] and grad_fill [parts, C] Real from grad
// [B, clips * P, C]; the caller adds the parts.
int ivn_place_tokens_backward_cpu(const void* grad, const int64_t* index, void* grad_tokens,
                                  void* grad_positions, void* grad_fill, int64_t* inverse,
                                  int64_t B, int64_t K, int64_t C, int64_t P, int64_t clips,
                                  int64_t parts, int type, int threads);
int ivn_place_tokens_backward_cuda(const void* grad, const int64_t* index, void* grad_tokens,
                                   void* grad_positions, void* grad_fill, int64_t* inverse,
                                   int64_t B, int64_t K, int64_t C, int64_t P, int64_t clips,
                                   int64_t parts, int type, void* stream);

// rows[b, k, :] = the pixels v * scale[c] + shift[c] of patch index[b, k] of the grid
// (T, H / p, W / p), laid out and divided as `layout` says.
// video uint8 [B, T, H, W, 3], index int64 [B, K], rows `type` [B, K, length];
// affine: 6 doubles on the host, scale then shift, per channel.
int ivn_gather_patches_cpu(const uint8_t* video, const int64_t* index, void* rows, int64_t B,
                           int64_t T, int64_t H, int64_t W, int64_t K, int patch_size,
                           const double* affine, double eps, int type, int layout, int threads);
int ivn_gather_patches_cuda(const uint8_t* video, const int64_t* index, void* rows, int64_t B,
                            int64_t T, int64_t H, int64_t W, int64_t K, int patch_size,
                            const double* affine, double eps, int type, int layout, void* stream);

// Keys are rows of four int64: seed, epoch, position, repeat (ivn/ops/random.py). `purpose` holds
// the purpose of the draws in its highest 8 bits and the layer in the others.

// words[b, :] = the first `count` words of keys[b], each below 2^32.
int ivn_random_words_cpu(const int64_t* keys, int64_t* words, int64_t B, int64_t count,
                         uint32_t purpose, int threads);
int ivn_random_words_cuda(const int64_t* keys, int64_t* words, int64_t B, int64_t count,
                          uint32_t purpose, void* stream);

// out[b, :] = `count` standard normal numbers of `type`, from the words of keys[b]; fp32 or fp64.
int ivn_normal_cpu(const int64_t* keys, void* out, int64_t B, int64_t count, uint32_t purpose,
                   int type, int threads);
int ivn_normal_cuda(const int64_t* keys, void* out, int64_t B, int64_t count, uint32_t purpose,
                    int type, void* stream);

// index[r, :] = `kept` of the L tokens of row r, ascending: the tokens of largest weight, or if
// `drawn` the tokens that arrive first, where token l arrives at -log(u) / weights[r, l] and never
// for a weight of 0. Of equals the first are kept.
// weights fp32 or fp64 (`type`) [B * T, L], keys [B, 4], index int64 [B * T, kept] plus t * L in
// row b * T + t: tokens of the clip.
int ivn_sample_tokens_cpu(const void* weights, const int64_t* keys, int64_t* index, int64_t B,
                          int64_t T, int64_t L, int64_t kept, int drawn, uint32_t purpose, int type,
                          int threads);
int ivn_sample_tokens_cuda(const void* weights, const int64_t* keys, int64_t* index, int64_t B,
                           int64_t T, int64_t L, int64_t kept, int drawn, uint32_t purpose,
                           int type, void* stream);

// hidden[b, :] = 1 where one of `count` blocks of `height` x `width` lies in a frame of `rows` x
// `columns` places, else 0. Blocks that hide a whole frame are drawn again, each time from the
// next layer, up to `attempts` times; then the row stays 1. keys [B, 4], hidden [B, rows *
// columns].
int ivn_hide_blocks_cpu(const int64_t* keys, uint8_t* hidden, int64_t B, int64_t rows,
                        int64_t columns, int count, int height, int width, int attempts,
                        uint32_t purpose, int threads);
int ivn_hide_blocks_cuda(const int64_t* keys, uint8_t* hidden, int64_t B, int64_t rows,
                         int64_t columns, int count, int height, int width, int attempts,
                         uint32_t purpose, void* stream);

// index[b, :] = `kept` of the T * L tokens of clip b whose places hidden[b, L] leaves open, the
// same in all frames, ascending: the first of them, or if `shuffled` those of the smallest words.
// hidden [B, L], keys [B, 4], index int64 [B, kept]; each row has at least `kept` open tokens.
int ivn_open_tokens_cpu(const uint8_t* hidden, const int64_t* keys, int64_t* index, int64_t B,
                        int64_t T, int64_t L, int64_t kept, int shuffled, uint32_t purpose,
                        int threads);
int ivn_open_tokens_cuda(const uint8_t* hidden, const int64_t* keys, int64_t* index, int64_t B,
                         int64_t T, int64_t L, int64_t kept, int shuffled, uint32_t purpose,
                         void* stream);

// rest[b, :] = the numbers below N that index[b, :] lacks, ascending.
// index int64 [B, M], no number twice in a row, rest int64 [B, N - M].
int ivn_other_tokens_cpu(const int64_t* index, int64_t* rest, int64_t B, int64_t N, int64_t M,
                         int threads);
int ivn_other_tokens_cuda(const int64_t* index, int64_t* rest, int64_t B, int64_t N, int64_t M,
                          void* stream);

// normed = x / sqrt(mean(x^2) + eps) * weight; on a GPU these norms are Triton kernels. Real is
// double for IVN_FLOAT64, else float. x [R, C] of `x_type`, normed of `normed_type`, weight [C]
// Real.
int ivn_rms_norm_cpu(const void* x, const void* weight, void* normed, int64_t R, int64_t C,
                     double eps, int x_type, int normed_type, int threads);
// grad [R, C] of `normed_type`, grad_x like x, grad_weight [IVN_NORM_PARTS, C] Real.
int ivn_rms_norm_backward_cpu(const void* grad, const void* x, const void* weight, void* grad_x,
                              void* grad_weight, int64_t R, int64_t C, double eps, int x_type,
                              int normed_type, int threads);

// stream = x + drop * scale * branch, normed = rms_norm(stream). x, stream [R, C] of
// `stream_type`, branch, normed [R, C] of `branch_type`, scale, weight [C] and drop [R] Real.
int ivn_add_norm_cpu(const void* x, const void* branch, const void* scale, const void* drop,
                     const void* weight, void* stream, void* normed, int64_t R, int64_t C,
                     double eps, int stream_type, int branch_type, int threads);
// Gradients have the types of their tensors; grad_scale, grad_weight [IVN_NORM_PARTS, C] Real.
int ivn_add_norm_backward_cpu(const void* grad_stream, const void* grad_normed, const void* stream,
                              const void* branch, const void* scale, const void* drop,
                              const void* weight, void* grad_x, void* grad_branch, void* grad_scale,
                              void* grad_weight, int64_t R, int64_t C, double eps, int stream_type,
                              int branch_type, int threads);

// qkv [R, 3, C] of `type` with its first two parts normalised by weights [2, C] Real.
int ivn_qk_norm_cpu(const void* qkv, const void* weights, void* normed, int64_t R, int64_t C,
                    double eps, int type, int threads);
// grad_weights [IVN_NORM_PARTS, 2, C] Real.
int ivn_qk_norm_backward_cpu(const void* grad, const void* qkv, const void* weights, void* grad_qkv,
                             void* grad_weights, int64_t R, int64_t C, double eps, int type,
                             int threads);

// stream = x + gate * branch, out = (layer_norm(stream) * weight + bias) * (1 + scale) + shift; on
// a GPU these are Triton kernels. If branch is null, so are gate and stream, and x is normalised.
// affine [2, W] Real: weight, bias; the others [R, W] of `type`. Strides are the elements from
// one row of gate, shift and scale to the next.
int ivn_modulate_cpu(const void* x, const void* gate, const void* branch, const void* shift,
                     const void* scale, const void* affine, void* stream, void* out,
                     int64_t gate_stride, int64_t shift_stride, int64_t scale_stride, int64_t R,
                     int64_t W, double eps, int type, int threads);
// grad_affine [IVN_NORM_PARTS, 2, W] Real. Without a branch grad_stream and the gradients of gate
// and branch are null too.
int ivn_modulate_backward_cpu(const void* grad_stream, const void* grad_out, const void* stream,
                              const void* gate, const void* branch, const void* scale,
                              const void* affine, void* grad_x, void* grad_gate, void* grad_branch,
                              void* grad_scale, void* grad_affine, int64_t gate_stride,
                              int64_t scale_stride, int64_t R, int64_t W, double eps, int type,
                              int threads);

// distance[r] = 1 - cos(p, t) of p = layer_norm(pred[r]) * weight + bias and t = target[r], their
// lengths at least eps; on a GPU a Triton kernel. pred [R, D] of `pred_type`, target [R, D] of
// `target_type`: fp32 or bf16, fp64 where pred is; affine [2, D], distance [R] Real.
int ivn_cosine_distance_cpu(const void* pred, const void* target, const void* affine,
                            void* distance, int64_t R, int64_t D, double norm_eps, double eps,
                            int pred_type, int target_type, int threads);
// grad [R] Real, grad_pred like pred, grad_affine [IVN_NORM_PARTS, 2, D] Real.
int ivn_cosine_distance_backward_cpu(const void* grad, const void* pred, const void* target,
                                     const void* affine, void* grad_pred, void* grad_affine,
                                     int64_t R, int64_t D, double norm_eps, double eps,
                                     int pred_type, int target_type, int threads);

// Rows of B samples, P of each, D numbers wide; a row's step is a row of `steps` [S, 6] Real: its
// factors and bounds, as ivn/ops/diffusion.py names them. The noise is `normal` of the sample's
// key. On a GPU these are Triton kernels. Real is double for IVN_FLOAT64, else float.

// x_t = signal * target + noise, and zeros up to `width`: target [B * P, D] Real, x_t [B * P,
// width] of `type`.
int ivn_noisy_target_cpu(const void* target, const int64_t* keys, const int64_t* timestep,
                         const void* steps, void* x_t, int64_t B, int64_t P, int64_t D,
                         int64_t width, uint32_t purpose, int type, int threads);
// Means over the row of the noise's squared error, and of the variational bound in bits: output
// [B * P, 2 * D] of `type`, mse and variational [B * P] Real.
int ivn_diffusion_loss_cpu(const void* output, const void* target, const int64_t* keys,
                           const int64_t* timestep, const void* steps, void* mse, void* variational,
                           int64_t B, int64_t P, int64_t D, uint32_t purpose, int type,
                           int threads);
int ivn_diffusion_loss_backward_cpu(const void* grad_mse, const void* grad_variational,
                                    const void* output, const void* target, const int64_t* keys,
                                    const int64_t* timestep, const void* steps, void* grad_output,
                                    int64_t B, int64_t P, int64_t D, uint32_t purpose, int type,
                                    int threads);

#ifdef __cplusplus
}
#endif
