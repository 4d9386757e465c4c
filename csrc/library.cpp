#include "ivn.h"

#ifdef IVN_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

extern "C" const char* ivn_header_digest(void) { return IVN_HEADER_DIGEST; }

extern "C" const char* ivn_error_string(int code) {
  if (code == 0) return "no error";
  if (code == IVN_DUPLICATE_INDEX) return "an index occurs twice in a row";
  if (code == IVN_INDEX_OUT_OF_RANGE) return "an index is out of range";
  if (code == IVN_TOO_MANY_TOKENS) return "more tokens than a block's shared memory holds";
  if (code == IVN_UNKNOWN_TYPE) return "unknown element type or layout";
#ifdef IVN_WITH_CUDA
  return cudaGetErrorString(static_cast<cudaError_t>(code));
#else
  return "unknown error";
#endif
}

extern "C" const char* ivn_cuda_archs(void) {
#ifdef IVN_WITH_CUDA
  return IVN_WITH_CUDA;
#else
  return "";
#endif
}

extern "C" int ivn_cuda_version(void) {
#ifdef IVN_WITH_CUDA
  return CUDART_VERSION;
#else
  return 0;
#endif
}

extern "C" int ivn_openmp(void) {
#ifdef _OPENMP
  return _OPENMP;
#else
  return 0;
#endif
}
