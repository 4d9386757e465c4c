"""What the words of the paper's rows mean at a scale: its decoders, predictors and teachers."""

from dataclasses import dataclass

from .options import Scale

Settings = tuple[str, ...]

_NO_TEXT = "no text encoder is as narrow as this predictor"
_NO_INTERNVIDEO2 = "it needs the released weights: give --internvideo2 FILE"


@dataclass(frozen=True)
class Part:
    """How a scale spells something that a row names, or why it has no such thing."""

    settings: Settings = ()
    missing: str = ""


@dataclass(frozen=True)
class Spelling:
    """What the rows' words mean at a scale.

    Attributes:
        recipe: of every run, by stage.
        text: the predictor's layers come from a text encoder.
        scratch: they do not.
        linear, mlp: decoders of pixels without diffusion.
        diffusion: small, middle and large diffusion decoders.
        sizes: how those are called here.
        last: the predictor's number of layers -> how to have it.
        vit: a plain predictor's depth -> how to have it.
        vjepa: V-JEPA's predictor.
        teacher: the scale's own, as every row has it that does not say otherwise.
        siglip, clip, dinov2: by their names.
        videomae: the second teacher of the pair.
        internvideo2: a frozen target of stage two.
        pixels: stage two reconstructs pixels, too.
        notes: what else differs from the paper, in sentences.
    """

    recipe: dict[str, Settings]
    text: Part
    scratch: Part
    linear: Part
    mlp: Part
    diffusion: tuple[Part, Part, Part]
    sizes: tuple[str, str, str]
    last: dict[int, Part]
    vit: dict[int, Part]
    vjepa: Part
    teacher: Part
    siglip: Part
    clip: Part
    dinov2: Part
    videomae: Part
    internvideo2: Part
    pixels: Part
    notes: tuple[str, ...] = ()


def spelling(scale: Scale, internvideo2: str) -> Spelling:
    """What the rows' words mean at ``scale``; ``internvideo2``: file of its 1B weights, or ""."""
    return _tiny(internvideo2) if scale == "tiny" else _full(internvideo2)


def _full(internvideo2: str) -> Spelling:
    """The paper's own sizes and teachers, whatever the encoder."""
    siglip = _teacher("siglip", "google/siglip2-large-patch16-256", 256, 24)
    return Spelling(
        recipe={"stage1": (*_KINETICS, *siglip.settings), "stage2": _KINETICS},
        text=Part(("model.predictor.init=modernbert",)),
        scratch=Part(("model.predictor.init=scratch",)),
        linear=_pixel(1, 1536),
        mlp=_pixel(3, 1536),
        diffusion=(_diffusion(3, 1024), _diffusion(6, 1536), _diffusion(9, 2048)),
        sizes=("D3 W1024", "D6 W1536", "D9 W2048"),
        last={count: Part((f"model.predictor.layers={count}",)) for count in (2, 5, 8)},
        vit={depth: _vit(1024, depth, 16) for depth in (5, 12)},
        vjepa=_vjepa(384, 12, 12),
        teacher=siglip,
        siglip=siglip,
        clip=_teacher("timm", "vit_large_patch14_clip_224.openai", 224, 24),
        dinov2=_teacher("timm", "vit_large_patch14_dinov2.lvd142m", 224, 24),
        videomae=_second("videomae", "MCG-NJU/videomae-large", 256, 24),
        internvideo2=_internvideo2(internvideo2, 224),
        pixels=Part(("stage.pixels_weight=1.0",)),
    )


def _tiny(internvideo2: str) -> Spelling:
    """The same in the proportions of ``tiny``: half as deep, and no layer of a text encoder."""
    efficientnet = _teacher("efficientnet", "", 256, 1)
    return Spelling(
        recipe={"stage1": (), "stage2": ()},
        text=Part(missing=_NO_TEXT),
        scratch=Part(("model.predictor.init=scratch",)),
        linear=_pixel(1, 640),
        mlp=_pixel(3, 640),
        # None narrower than a patch of 588 numbers: it could not pass the noise that it estimates.
        diffusion=(_diffusion(2, 592), _diffusion(3, 640), _diffusion(5, 848)),
        sizes=("D2 W592 for D3 W1024", "D3 W640 for D6 W1536", "D5 W848 for D9 W2048"),
        last={
            2: Part(("model.predictor.layers=1",)),
            5: Part(),
            8: Part(("model.predictor.layers=4",)),
        },
        vit={5: _vit(192, 2, 3), 12: _vit(192, 5, 3)},
        vjepa=_vjepa(96, 5, 3),
        teacher=efficientnet,
        siglip=_teacher("timm", "vit_base_patch16_siglip_256.v2_webli", 128, 12),
        clip=_teacher("timm", "vit_base_patch16_clip_224.openai", 128, 12),
        dinov2=_teacher("timm", "vit_small_patch14_dinov2.lvd142m", 112, 12),
        videomae=_second("videomae", "MCG-NJU/videomae-base", 128, 12),
        internvideo2=_internvideo2(internvideo2, 112),
        pixels=Part(
            (
                "stage.pixels_weight=1.0",
                "stage.pixel_decoder.depth=3",
                "stage.pixel_decoder.width=640",
            )
        ),
        notes=(
            "The scale tiny: where a row says SigLIP without table 2, the teacher is "
            "EfficientNet-Lite0, whose weights need no download; predictors are 2 layers from "
            "scratch; decoders, ViT and V-JEPA predictors are about half as deep.",
        ),
    )


# The paper's ablations: 8 frames, 30 epochs at batch 1024, in both stages.
_KINETICS = ("stage.frames=8", "optim.batch_size=1024", "optim.epochs=30.0")


def _pixel(depth: int, width: int) -> Part:
    return Part(
        ("model.decoder.kind=pixel", f"model.decoder.depth={depth}", f"model.decoder.width={width}")
    )


def _diffusion(depth: int, width: int) -> Part:
    sizes = (f"model.decoder.depth={depth}", f"model.decoder.width={width}")
    return Part(("model.decoder.kind=diffusion", *sizes))


def _vit(width: int, depth: int, heads: int) -> Part:
    sizes = {"width": width, "depth": depth, "heads": heads}
    return Part(
        ("model.predictor.kind=vit", *(f"model.predictor.{k}={v}" for k, v in sizes.items()))
    )


def _vjepa(width: int, depth: int, heads: int) -> Part:
    return Part((*_vit(width, depth, heads).settings, "stage.start=encoder"))


def _teacher(kind: str, source: str, image_size: int, tap: int) -> Part:
    return Part(
        (
            f"stage.teacher.kind={kind}",
            f"stage.teacher.source={source}",
            f"stage.teacher.image_size={image_size}",
            f"stage.teacher.taps=[{tap}]",
            f"stage.teacher.dtype={'float32' if kind == 'efficientnet' else 'bfloat16'}",
        )
    )


def _internvideo2(file: str, image_size: int) -> Part:
    if not file:
        return Part(missing=_NO_INTERNVIDEO2)
    return Part(moved(_teacher("internvideo2", file, image_size, 40), "stage.target"))


def _second(kind: str, source: str, image_size: int, tap: int) -> Part:
    return Part(moved(_teacher(kind, source, image_size, tap), "stage.second_teacher"))


def moved(part: Part, key: str) -> Settings:
    """A teacher's settings under another key of the config."""
    return tuple(setting.replace("stage.teacher", key, 1) for setting in part.settings)
