"""An encoder as a program for use elsewhere: what it gives is what the encoder gives."""

import pytest
import torch
from torch import nn

from ivn.benchmarks.steps.reference_ops import reference_ops
from ivn.model.encoder import EncoderConfig, build_encoder

CONFIG = EncoderConfig(
    64, 1, 4, 128, image_height=56, image_width=56, num_frames=4, pool_heads=4, pool_width=48
)
BATCH = torch.export.Dim("batch", min=1, max=64)


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(CONFIG, seed=0).eval().requires_grad_(False)


class Pooled(nn.Module):
    """The pooling head's vector."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, video):
        return self.encoder.pool(video)


def clips(count, T=4, S=56):
    draw = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, T, S, S, 3), dtype=torch.uint8, generator=draw)


def exported(network, video):
    with torch.no_grad():
        return torch.export.export(network, (video,), dynamic_shapes=({0: BATCH},))


def own_ops(program):
    return {str(node.target) for node in program.graph.nodes if "ivn" in str(node.target)}


@pytest.fixture(scope="module")
def program(encoder):
    return exported(encoder, clips(2))


@pytest.mark.parametrize("count", [1, 5])
def test_an_exported_encoder_takes_any_number_of_clips(encoder, program, count):
    assert own_ops(program)
    video = clips(count)
    assert torch.equal(program.module()(video), encoder(video))


def test_on_reference_ops_nothing_of_ours_is_in_the_program(encoder, tmp_path):
    """Pooled, of a grid whose positions are interpolated, and read back from a file.

    The encoder gives the same as before: it keeps nothing that was made for the program.
    """
    with reference_ops():
        program = exported(Pooled(encoder), clips(2, 6, 84))
    assert not own_ops(program)
    torch.export.save(program, tmp_path / "encoder.pt2")
    read = torch.export.load(tmp_path / "encoder.pt2").module()
    for count in (1, 3):
        video = clips(count, 6, 84)
        torch.testing.assert_close(read(video), encoder.pool(video), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [56, 70])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_encoder_takes_any_number_of_clips(encoder, size):
    kept = len(encoder._positions._kept)
    with torch.no_grad():
        for _ in range(2):
            traced = torch.jit.trace(encoder, (clips(1, 4, size),), check_trace=False)
        for count in (1, 2, 5):
            video = clips(count, 4, size)
            assert torch.equal(traced(video), encoder(video))
    assert len(encoder._positions._kept) <= kept + 1


@pytest.mark.parametrize("shape", [(4, 56, 28), (8, 28, 28), (1, 28, 56), (4, 56, 56), (2, 28, 56)])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_encoder_refuses_clips_of_another_size_than_its_examples(encoder, shape):
    def video(frames, height, width):
        return torch.zeros(1, frames, height, width, 3, dtype=torch.uint8)

    with torch.no_grad():
        traced = torch.jit.trace(encoder, (video(4, 28, 56),), check_trace=False)
        with pytest.raises(RuntimeError, match="unflatten: Provided sizes"):
            traced(video(*shape))
