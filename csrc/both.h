// Marks functions that the CPU and the GPU share, so that code tested on one runs on the other.
#pragma once

#ifdef __CUDACC__
#define IVN_BOTH __host__ __device__ inline
#else
#define IVN_BOTH inline
#endif
