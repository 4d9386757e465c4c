"""InternVideo2 as a teacher: its released encoders, computed by the blocks of ivn.

Legend: B clips, T frames, n tokens of a frame, C width, P pooled width.
"""

from pathlib import Path

from torch import Tensor

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.model.encoder import Encoder, EncoderConfig, build_encoder
from ivn.model.internvideo2 import HEADS, POOL_HEADS
from ivn.model.weights import read_encoder

from .protocol import ClipNetwork, Tap, check_taps

# Released sizes: width, blocks, features inside a block's MLP.
_SIZES = {
    "S14": (384, 12, 1536),
    "B14": (768, 12, 3072),
    "L14": (1024, 24, 4096),
    "1B": (1408, 40, 6144),
    "6B": (3200, 48, 12800),
}
_TINY = EncoderConfig(
    64, 4, 4, 128, image_height=56, image_width=56, num_frames=2, family="internvideo2"
)


class InternVideo2Network(ClipNetwork):
    """An encoder of InternVideo2.

    Taps are the stream after a block, without the cls token; attention is that of its pool.
    """

    sources = (
        "a file of InternVideo2's weights (such as pretrain.pth, fetched with hf download) or a "
        f"folder with model.safetensors; with random weights {', '.join(_SIZES)}"
    )
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, encoder: Encoder, *, taps: tuple[int, ...], image_size: int) -> None:
        super().__init__()
        config = encoder.config
        check_taps(taps, config.depth, first=1)
        if image_size < config.patch_size or image_size % config.patch_size:
            raise ValueError(
                f"image_size is {image_size}, expected a multiple of the teacher's patch size "
                f"{config.patch_size}: {config.patch_size * 16} for 16 x 16 tokens"
            )
        self.taps, self.image_size = taps, image_size
        self.grid, self.width = image_size // config.patch_size, config.width
        self.encoder = encoder

    @classmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int
    ) -> "InternVideo2Network":
        if weights == "random" and source in (*_SIZES, "tiny"):
            encoder = build_encoder(named_sizes(source), seed=0)
        else:
            encoder = _read(source)
        return cls(encoder.eval().requires_grad_(False), taps=taps, image_size=image_size)

    @property
    def pooled_width(self) -> int:
        return self.encoder.config.pool_width

    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        wanted = () if tap is None else self.taps
        to_end = pooled or attention
        stop = self.encoder.config.depth if to_end else max(wanted, default=0)
        B, T = clips.shape[:2]
        vector, weights = clips.new_empty(B, 1, 0), clips.new_empty(B, T, 0)
        if not stop:
            return vector, weights
        blocks = [number - 1 for number in wanted]
        hidden, tapped = self.encoder.hidden(clips.transpose(1, 2), taps=blocks, stop=stop)
        if tap is not None:
            for k, block in enumerate(blocks):
                tap(k, tapped[block][:, 1:])
        if pooled:
            vector = self.encoder.pool_hidden(hidden)[:, None]
        if attention:
            weights = self.encoder.clip_projector.weights(hidden.to(self.dtype))[:, 1:]
            weights = weights.unflatten(1, (T, -1))
        return vector, weights


def named_sizes(name: str) -> EncoderConfig:
    """Returns the sizes of a released encoder, or of "tiny", for tests."""
    if name == "tiny":
        return _TINY
    width, depth, hidden = _SIZES[name]
    return EncoderConfig(
        width,
        depth,
        HEADS[width],
        hidden,
        num_frames=8,
        pool_heads=POOL_HEADS,
        family="internvideo2",
    )


def _read(source: str) -> Encoder:
    if not Path(source).exists():
        raise ValueError(
            f"there is nothing at {source!r}: give stage.teacher.source, "
            f"{InternVideo2Network.sources}"
        )
    encoder = read_encoder(Path(source), {})
    if encoder.config.family != "internvideo2":
        raise ValueError(
            f"{source} is an encoder of InternVideo-Next, expected InternVideo2's: it has "
            f"{encoder.config.cls_tokens} cls tokens instead of one"
        )
    return encoder
