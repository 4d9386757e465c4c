"""``gather_patches`` and ``gather_target_patches`` against eager and compiled PyTorch.

python benchmarks/bench_patches.py --device cpu
"""

from functools import partial

import torch
from measure import Report, arguments

from ivn.ops import gather_patches, gather_target_patches
from ivn.ops.patches import Layout, gather_patches_reference

PATCH, EPS = 14, 1e-6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# name, B, T, size, kept
SIZES = {
    "cpu": [("tiny", 8, 8, 112, 0.25), ("base", 2, 16, 224, 0.25)],
    "cuda": [("base", 64, 16, 224, 0.25), ("base 80%", 64, 16, 224, 0.8)],
}


def kept_first(video, index, dtype, layout):
    """Plain PyTorch at its best: bytes are gathered before anything is computed."""
    B, T, H, W, _ = video.shape
    grid = video.view(B, T, H // PATCH, PATCH, W // PATCH, PATCH, 3).permute(0, 1, 2, 4, 3, 5, 6)
    time, line, column = (
        index // (H // PATCH * (W // PATCH)),
        index // (W // PATCH) % (H // PATCH),
        index % (W // PATCH),
    )
    bytes_kept = grid[torch.arange(B, device=index.device)[:, None], time, line, column]
    pixels = (bytes_kept.float() / 255 - video.new_tensor(MEAN, dtype=torch.float32)) / (
        video.new_tensor(STD, dtype=torch.float32)
    )
    if layout == Layout.TARGET:
        return pixels.movedim(-1, 2).flatten(2).to(dtype)
    rows = pixels.flatten(2)
    return (rows * (rows.square().mean(-1, keepdim=True) + EPS).rsqrt()).to(dtype)


def whole_video(video, index, dtype, layout):
    """As the released code does: everything normalised, then most of it dropped."""
    return gather_patches_reference(video, index, PATCH, MEAN, STD, EPS, dtype, layout)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    report = Report(options)
    dtype = getattr(torch, options.dtype)
    ours = {
        Layout.EMBEDDING: partial(gather_patches, mean=MEAN, std=STD, eps=EPS, dtype=dtype),
        Layout.TARGET: partial(gather_target_patches, mean=MEAN, std=STD, dtype=dtype),
    }
    compiled = torch.compile(kept_first, dynamic=False)
    for name, B, T, size, kept in SIZES[report.device.type][: 1 if options.quick else None]:
        shape = (B, T, size, size, 3)
        video = torch.randint(0, 256, shape, dtype=torch.uint8, device=report.device)
        N = T * (size // PATCH) ** 2
        order = torch.rand(B, N, device=report.device).argsort(1)
        index = order[:, : int(N * kept)].sort(1).values
        for layout, gather in ours.items():
            case = {
                "ivn": partial(gather, video, index),
                "eager": partial(kept_first, video, index, dtype, layout),
                "compiled": partial(compiled, video, index, dtype, layout),
                "whole video": partial(whole_video, video, index, dtype, layout),
            }
            expected = whole_video(video, index, dtype, layout)
            moved = expected.nbytes + expected.numel() + index.nbytes
            # One unit in the last place at the largest magnitude.
            atol = torch.finfo(dtype).eps * expected.abs().max().item() * 4
            title = f"{name} {B} x {T} x {size} px {layout.name.lower()}"
            report.add(title, case, expected, moved, atol)
    report.write()


if __name__ == "__main__":
    main()
