"""Operations inside CUDA graphs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def assert_captured(run: Callable[[], Tensor | Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
    """``run`` is captured, and its replay follows ``inputs`` that are changed in place.

    ``run`` reads the ``inputs``, CUDA tensors of which each of floating point is negated here.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # kernels are compiled and loaded outside the capture
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for one in inputs:
            if one.is_floating_point():
                one.neg_()
    graph.replay()
    torch.testing.assert_close(captured, run(), rtol=0, atol=0)
