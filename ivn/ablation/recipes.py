"""The settings behind the paper's rows at a scale: its decoders, predictors and teachers."""

from dataclasses import dataclass

from .options import Scale

Settings = tuple[str, ...]

_NO_TEXT = "no text encoder is as narrow as this predictor"
_NO_INTERNVIDEO2 = "it needs the released weights: give --internvideo2 FILE"


@dataclass(frozen=True)
class Choice:
    """The settings of something that a row names, or the reason why a scale does not have it."""

    settings: Settings = ()
    missing: str = ""


@dataclass(frozen=True)
class Choices:
    """The choices of the paper's rows at a scale.

    Attributes:
        recipe: settings of every run, by stage.
        text: a predictor whose layers come from a text encoder.
        scratch: a predictor whose layers start at random.
        linear, mlp: decoders of pixels without diffusion.
        diffusion: small, middle and large diffusion decoders.
        sizes: names of the three diffusion decoders.
        last: number of layers -> predictor.
        vit: depth -> plain predictor.
        vjepa: V-JEPA's predictor.
        teacher: the scale's own teacher, used by every row that names no other.
        siglip, clip, dinov2: teachers of these names.
        videomae: the second teacher beside SigLIP.
        internvideo2: InternVideo2 as the frozen target of stage two.
        pixels: reconstruction of pixels in stage two.
        notes: other differences from the paper, in sentences.
    """

    recipe: dict[str, Settings]
    text: Choice
    scratch: Choice
    linear: Choice
    mlp: Choice
    diffusion: tuple[Choice, Choice, Choice]
    sizes: tuple[str, str, str]
    last: dict[int, Choice]
    vit: dict[int, Choice]
    vjepa: Choice
    teacher: Choice
    siglip: Choice
    clip: Choice
    dinov2: Choice
    videomae: Choice
    internvideo2: Choice
    pixels: Choice
    notes: tuple[str, ...] = ()


def choices(scale: Scale, internvideo2: str) -> Choices:
    """Returns the choices at ``scale``; ``internvideo2`` is the file of its 1B weights, or ""."""
    return _tiny(internvideo2) if scale == "tiny" else _full(internvideo2)


def _full(internvideo2: str) -> Choices:
    """Returns the paper's own sizes and teachers, for every encoder but ``tiny``."""
    siglip = _teacher("siglip", "google/siglip2-large-patch16-256", 256, 24)
    return Choices(
        recipe={"stage1": (*_KINETICS, *siglip.settings), "stage2": _KINETICS},
        text=Choice(("model.predictor.init=modernbert",)),
        scratch=Choice(("model.predictor.init=scratch",)),
        linear=_pixel(1, 1536),
        mlp=_pixel(3, 1536),
        diffusion=(_diffusion(3, 1024), _diffusion(6, 1536), _diffusion(9, 2048)),
        sizes=("D3 W1024", "D6 W1536", "D9 W2048"),
        last={count: Choice((f"model.predictor.layers={count}",)) for count in (2, 5, 8)},
        vit={depth: _vit(1024, depth, 16) for depth in (5, 12)},
        vjepa=_vjepa(384, 12, 12),
        teacher=siglip,
        siglip=siglip,
        clip=_teacher("timm", "vit_large_patch14_clip_224.openai", 224, 24),
        dinov2=_teacher("timm", "vit_large_patch14_dinov2.lvd142m", 224, 24),
        videomae=_second("videomae", "MCG-NJU/videomae-large", 256, 24),
        internvideo2=_internvideo2(internvideo2, 224),
        pixels=Choice(("stage.pixels_weight=1.0",)),
    )


def _tiny(internvideo2: str) -> Choices:
    """Returns the choices of ``tiny``: half as deep, and without layers of a text encoder."""
    efficientnet = _teacher("efficientnet", "", 256, 1)
    return Choices(
        recipe={"stage1": (), "stage2": ()},
        text=Choice(missing=_NO_TEXT),
        scratch=Choice(("model.predictor.init=scratch",)),
        linear=_pixel(1, 640),
        mlp=_pixel(3, 640),
        # At least as wide as a patch of 588 numbers: the noise that it estimates must fit through.
        diffusion=(_diffusion(2, 592), _diffusion(3, 640), _diffusion(5, 848)),
        sizes=("D2 W592 for D3 W1024", "D3 W640 for D6 W1536", "D5 W848 for D9 W2048"),
        last={
            2: Choice(("model.predictor.layers=1",)),
            5: Choice(),
            8: Choice(("model.predictor.layers=4",)),
        },
        vit={5: _vit(192, 2, 3), 12: _vit(192, 5, 3)},
        vjepa=_vjepa(96, 5, 3),
        teacher=efficientnet,
        siglip=_teacher("timm", "vit_base_patch16_siglip_256.v2_webli", 128, 12),
        clip=_teacher("timm", "vit_base_patch16_clip_224.openai", 128, 12),
        dinov2=_teacher("timm", "vit_small_patch14_dinov2.lvd142m", 112, 12),
        videomae=_second("videomae", "MCG-NJU/videomae-base", 128, 12),
        internvideo2=_internvideo2(internvideo2, 112),
        pixels=Choice(
            (
                "stage.pixels_weight=1.0",
                "stage.pixel_decoder.depth=3",
                "stage.pixel_decoder.width=640",
            )
        ),
        notes=(
            "At the scale tiny, the teacher of rows that say SigLIP is EfficientNet-Lite0 outside "
            "table 2, whose weights need no download; predictors are 2 layers from "
            "scratch; decoders, ViT and V-JEPA predictors are about half as deep.",
        ),
    )


# The paper's ablations: 8 frames, 30 epochs at batch 1024, in both stages.
_KINETICS = ("stage.frames=8", "optim.batch_size=1024", "optim.epochs=30.0")


def _pixel(depth: int, width: int) -> Choice:
    return Choice(
        ("model.decoder.kind=pixel", f"model.decoder.depth={depth}", f"model.decoder.width={width}")
    )


def _diffusion(depth: int, width: int) -> Choice:
    sizes = (f"model.decoder.depth={depth}", f"model.decoder.width={width}")
    return Choice(("model.decoder.kind=diffusion", *sizes))


def _vit(width: int, depth: int, heads: int) -> Choice:
    sizes = {"width": width, "depth": depth, "heads": heads}
    return Choice(
        ("model.predictor.kind=vit", *(f"model.predictor.{k}={v}" for k, v in sizes.items()))
    )


def _vjepa(width: int, depth: int, heads: int) -> Choice:
    return Choice((*_vit(width, depth, heads).settings, "stage.start=encoder"))


def _teacher(kind: str, source: str, image_size: int, tap: int) -> Choice:
    return Choice(
        (
            f"stage.teacher.kind={kind}",
            f"stage.teacher.source={source}",
            f"stage.teacher.image_size={image_size}",
            f"stage.teacher.taps=[{tap}]",
            f"stage.teacher.dtype={'float32' if kind == 'efficientnet' else 'bfloat16'}",
        )
    )


def _internvideo2(file: str, image_size: int) -> Choice:
    if not file:
        return Choice(missing=_NO_INTERNVIDEO2)
    return Choice(moved(_teacher("internvideo2", file, image_size, 40), "stage.target"))


def _second(kind: str, source: str, image_size: int, tap: int) -> Choice:
    return Choice(moved(_teacher(kind, source, image_size, tap), "stage.second_teacher"))


def moved(part: Choice, key: str) -> Settings:
    """Returns a teacher's settings under another key of the config."""
    return tuple(setting.replace("stage.teacher", key, 1) for setting in part.settings)
