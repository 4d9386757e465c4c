"""Memory of a CPU run: kept by the process instead of asked for anew in every step."""

import ctypes

# The parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tell glibc to keep what tensors free; elsewhere nothing happens.

    By default large blocks go back to the system at once, and the next step waits for it to map
    and clear the same pages again: half the time of a small model's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 << 20)
