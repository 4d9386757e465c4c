import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ivn.ops import gather_patches, gather_target_patches
from ivn.ops.patches import Layout, gather_patches_reference
from tests.capture import assert_captured
from tests.closeness import assert_as_good_as
from tests.processes import ROOT

MEAN, STD, EPS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1e-6
PIXELS = {"mean": MEAN, "std": STD}
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
GRIDS = [  # B, T, H, W, patch size, K
    pytest.param((2, 3, 56, 42, 14, 9), id="model-patches"),
    pytest.param((2, 8, 112, 112, 14, 128), id="several-threads"),
    pytest.param((1, 2, 32, 48, 16, 12), id="wide-stores"),
    pytest.param((3, 1, 9, 6, 3, 5), id="odd"),
    pytest.param((1, 1, 4, 5, 1, 20), id="pixels"),
    pytest.param((1, 1, 64, 128, 64, 2), id="largest"),
    pytest.param((2, 2, 28, 28, 14, 0), id="none-kept"),
    pytest.param((0, 2, 28, 28, 14, 3), id="no-batch"),
]
ROWS = [gather_patches, gather_target_patches]


def video_and_index(B, T, H, W, p, K, device):
    video = torch.randint(0, 256, (B, T, H, W, 3), dtype=torch.uint8, device=device)
    index = torch.rand(B, T * (H // p) * (W // p), device=device).argsort(1)[:, :K]
    return video, index.contiguous()


def reference(rows, video, index, patch_size, dtype):
    """The plain version of ``rows``, computed and rounded in ``dtype``."""
    layout = Layout.EMBEDDING if rows is gather_patches else Layout.TARGET
    return gather_patches_reference(video, index, patch_size, MEAN, STD, EPS, dtype, layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("rows", ROWS)
def test_matches_reference(rows, grid, dtype, device):
    *_, p, K = grid
    video, index = video_and_index(*grid, device)
    got = rows(video, index, patch_size=p, dtype=dtype, **PIXELS)
    pixels = 3 * p * p
    length = -(-pixels // 8) * 8 if rows is gather_patches else pixels
    assert got.shape == (grid[0], K, length) and not got[..., pixels:].any()
    baseline = reference(rows, video, index, p, dtype)
    assert_as_good_as(got, baseline, reference(rows, video, index, p, torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", ROWS)
def test_half_precision_is_rounded_single_precision(rows, dtype, device):
    video, index = video_and_index(1, 2, 28, 28, 14, 5, device)
    single = rows(video, index, **PIXELS)
    assert torch.equal(rows(video, index, dtype=dtype, **PIXELS), single.to(dtype))


def test_order_of_elements_is_that_of_the_official_embedding(device):
    """A pixel's value says where it is: line 3, column 5, channel 1 of patch (1, 2, 0)."""
    video = torch.zeros(1, 2, 42, 28, 3, dtype=torch.uint8, device=device)
    video[0, 1, 2 * 14 + 3, 0 * 14 + 5, 1] = 255
    index = torch.tensor([[1 * 6 + 2 * 2 + 0]], device=device)
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    embedding = gather_patches(video, index, **plain)[0, 0]
    target = gather_target_patches(video, index, **plain)[0, 0]
    assert embedding.nonzero().tolist() == [[(3 * 14 + 5) * 3 + 1]]
    assert target.nonzero().tolist() == [[(1 * 14 + 3) * 14 + 5]]


def test_embedding_is_a_convolution_of_the_normalised_video(device):
    """With eps so large that rows are only scaled, a matrix product is a strided convolution."""
    video, _ = video_and_index(2, 2, 28, 42, 14, 0, device)
    everything = torch.arange(12, device=device).expand(2, -1)
    weight = torch.randn(5, 14, 14, 3, device=device, dtype=torch.float64)
    eps = 1e12
    rows = gather_patches(video, everything, eps=eps, dtype=torch.float64, **PIXELS)
    pixels = (video.double() / 255 - video.new_tensor(MEAN, dtype=torch.float64)) / (
        video.new_tensor(STD, dtype=torch.float64)
    )
    maps = F.conv2d(pixels.flatten(0, 1).permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), stride=14)
    expected = maps.unflatten(0, (2, 2)).permute(0, 1, 3, 4, 2).flatten(1, 3)
    torch.testing.assert_close(rows[..., :588] @ weight.flatten(1).T * eps**0.5, expected)


def test_rows_have_unit_root_mean_square(device):
    video, index = video_and_index(2, 2, 28, 28, 14, 6, device)
    rows = gather_patches(video, index, **PIXELS)
    torch.testing.assert_close(rows[..., :588].square().mean(-1), torch.ones(2, 6, device=device))


@pytest.mark.parametrize("value", [0, 255])
def test_flat_patches_are_finite(value, device):
    """Black stays 0 where the mean is 0; white is constant rows."""
    video = torch.full((1, 1, 14, 14, 3), value, dtype=torch.uint8, device=device)
    index = torch.zeros(1, 1, dtype=torch.int64, device=device)
    rows = gather_patches(video, index, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), eps=1e-6)
    rows = rows[..., :588]
    torch.testing.assert_close(rows, torch.full_like(rows, value / 255))


def test_nearly_grey_patches_keep_their_digits(device):
    """Pixels a step from the mean: the sum of squares is a small difference of large numbers."""
    video = 128 + torch.randint(0, 2, (1, 2, 14, 14, 3), dtype=torch.uint8, device=device)
    index = torch.tensor([[1, 0]], device=device)
    grey = {"mean": (128.5 / 255,) * 3, "std": (1e-2,) * 3, "eps": 0.0}
    rows = gather_patches(video, index, dtype=torch.float64, **grey)[..., :588]
    torch.testing.assert_close(rows.abs(), torch.ones_like(rows), atol=1e-9, rtol=0)


@pytest.mark.parametrize("rows", ROWS)
def test_rows_do_not_depend_on_the_others(rows, device):
    video, index = video_and_index(2, 4, 56, 56, 14, 40, device)
    together = rows(video, index, **PIXELS)
    alone = rows(video[1:], index[1:, 7:8], **PIXELS)
    assert torch.equal(together[1:, 7:8], alone)


@pytest.mark.parametrize("rows", ROWS)
def test_rows_do_not_depend_on_the_number_of_threads(rows):
    video, index = video_and_index(2, 8, 112, 112, 14, 128, "cpu")
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(rows(video, index, **PIXELS))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("rows", ROWS)
def test_non_contiguous_video_is_read_right(rows, device):
    video, _ = video_and_index(2, 8, 42, 28, 14, 0, device)
    _, index = video_and_index(2, 4, 28, 42, 14, 9, device)
    every_other = video[:, ::2].transpose(2, 3)
    expected = rows(every_other.contiguous(), index, **PIXELS)
    assert torch.equal(rows(every_other, index, **PIXELS), expected)


@pytest.mark.parametrize("layout", list(Layout))
def test_opcheck(layout, device):
    video, index = video_and_index(2, 2, 28, 28, 14, 5, device)
    arguments = (video, index, 14, list(MEAN), list(STD), EPS, torch.float32, int(layout))
    torch.library.opcheck(torch.ops.ivn.gather_patches.default, arguments)


@pytest.mark.parametrize("rows", ROWS)
def test_compiles_into_one_graph(rows, device):
    video, index = video_and_index(2, 2, 28, 28, 14, 5, device)

    def embed(video, index):
        return rows(video, index, dtype=torch.bfloat16, **PIXELS) * 2

    compiled = torch.compile(embed, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(video, index), embed(video, index))


def test_bytes_are_staged_as_they_lie_and_none_behind_the_video_is_read(tmp_path):
    """The CUDA version's first half, which the CPU version does not share."""
    compiler = shutil.which("c++")
    assert compiler is not None, "a C++ compiler is needed, as for the installation"
    source = str(Path(__file__).with_name("stage_patches.cpp"))
    headers = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'ivn' / 'ops'}"]
    options = ["-std=c++17", "-fsanitize=address", *headers, "-o", "stage"]
    subprocess.run([compiler, source, *options], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "stage"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", ROWS)
def test_gpu_gives_the_bits_of_the_cpu(rows, dtype):
    video, index = video_and_index(2, 3, 56, 42, 14, 9, "cpu")
    on_gpu = rows(video.cuda(), index.cuda(), dtype=dtype, **PIXELS)
    assert torch.equal(on_gpu.cpu(), rows(video, index, dtype=dtype, **PIXELS))


@pytest.mark.gpu
@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("rows", ROWS)
def test_gpu_reads_videos_at_any_address(rows, shift):
    video, index = video_and_index(2, 1, 15, 25, 5, 9, "cuda")
    room = torch.empty(video.numel() + shift, dtype=torch.uint8, device="cuda")
    moved = room[shift:].view(video.shape).copy_(video)
    got = rows(moved, index, patch_size=5, **PIXELS)
    assert torch.equal(got, rows(video, index, patch_size=5, **PIXELS))


@pytest.mark.gpu
@pytest.mark.parametrize("rows", ROWS)
def test_is_captured_in_a_cuda_graph(rows):
    video, index = video_and_index(2, 2, 28, 28, 14, 5, "cuda")
    assert_captured(lambda: rows(video, index, **PIXELS), [video, index])


VIDEO = torch.zeros(2, 2, 28, 28, 3, dtype=torch.uint8)
INDEX = torch.arange(3).expand(2, -1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": VIDEO.float()}, r"video is torch.float32 \[2, 2, 28, 28, 3\], expected uint8"),
        ({"video": VIDEO[0]}, r"video is torch.uint8 \[2, 28, 28, 3\], expected uint8"),
        ({"index": INDEX.int()}, r"index is torch.int32 \[2, 3\], expected int64 \[2, K\]"),
        ({"index": INDEX[:1]}, r"index is torch.int64 \[1, 3\], expected int64 \[2, K\]"),
        ({"index": INDEX + 6}, r"index\[0\] holds 8, expected 0 to 7"),
        ({"index": INDEX - 1}, r"index\[0\] holds -1, expected 0 to 7"),
        ({"index": INDEX * 0 + 5}, r"index\[0\] holds 5 twice"),
        ({"patch_size": 16}, r"frames are 28 x 28, expected multiples of patch_size 16"),
        ({"patch_size": 65}, r"patch_size is 65, expected 1 to 64"),
        ({"std": (1.0, 1.0, 0.0)}, r"mean is .*, expected three values each, std positive"),
        ({"dtype": torch.int32}, r"dtype is torch.int32, expected fp32, bf16, fp16 or fp64"),
    ],
)
@pytest.mark.parametrize("rows", ROWS)
def test_refuses_wrong_arguments(rows, changes, message):
    arguments = {"video": VIDEO, "index": INDEX, **PIXELS} | changes
    with pytest.raises(ValueError, match=f"^{rows.__name__}: {message}"):
        rows(arguments.pop("video"), arguments.pop("index"), **arguments)
