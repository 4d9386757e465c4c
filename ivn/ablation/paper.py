"""The rows of the paper's ablation tables: its numbers, and the settings of each row.

The paper: ViT-B on Kinetics-710, 8 frames, 30 epochs per stage at batch 1024, SigLIP2-L as teacher,
linear probes on K400 and SSv2, a cross-attention probe on ScanNet (its section 4.1, Tables 1-4).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .recipes import Choice, Choices, Scale, Settings, choices, moved

_KINETICS = "K400"
_MOTION = "SSv2"
_DEPTH = "ScanNet δ1"


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's tables.

    Attributes:
        name: name of the row in the paper.
        paper: the paper's accuracies in per cent, one per column.
        settings: settings of the preset (``--set``), beyond the recipe of the scale.
        start: name of the row whose run a row of stage two starts from; "" for stage one.
        teacher: key of the config under which the row has the scale's own teacher; "" without it.
        missing: reason why the row cannot run at this scale; "" if it can.
    """

    name: str
    paper: tuple[float, ...]
    settings: Settings = ()
    start: str = ""
    teacher: str = ""
    missing: str = ""

    @property
    def stage(self) -> str:
        """The stage of the preset."""
        return "stage2" if self.start else "stage1"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, or one of its panels.

    Attributes:
        name: name of the table for ``ivn ablate``.
        title: the setting that it varies.
        columns: data sets on which the paper reports accuracies.
        rows: rows in the paper's order.
        notes: differences from the paper at this scale, in sentences.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...] = ()


def table(name: str, scale: Scale, *, internvideo2: str = "") -> PaperTable:
    """Returns a table with its rows at ``scale``.

    Args:
        name: one of ``TABLES``.
        scale: size of the models.
        internvideo2: file of InternVideo2's weights, for its row; without it, "", that row does not
            run.
    """
    options = choices(scale, internvideo2)
    return replace(TABLES[name](options), notes=options.notes)


def recipe(scale: Scale, stage: str) -> Settings:
    """Returns the settings of every run of ``stage``, beyond the preset of ``scale``."""
    return choices(scale, "").recipe[stage]


def _row(
    name: str, paper: tuple[float, ...], *parts: Choice, start: str = "", teacher: str = ""
) -> PaperRow:
    """Returns a row; one of stage one always has the scale's own teacher."""
    settings = tuple(setting for part in parts for setting in part.settings)
    missing = "; ".join(dict.fromkeys(part.missing for part in parts if part.missing))
    teacher = teacher if start else "stage.teacher"
    return PaperRow(name, paper, settings, start, teacher, missing)


def _only(part: str) -> Choice:
    """Returns the choice of one term of the loss without the others."""
    off = {"pixels": ("layers_weight", "pooled_weight"), "layers": ("pixels_weight",)}[part]
    return Choice(tuple(f"stage.{name}=0.0" for name in off))


def _table_1a(s: Choices) -> PaperTable:
    middle = s.diffusion[1]
    rows = (
        _row("Pixel Recon. Baseline", (47.2, 28.1), _only("pixels"), s.linear, s.scratch),
        _row("SigLIP Align only", (70.7, 32.1), _only("layers"), s.scratch),
        _row("Pixel Rec. + Align", (69.8, 31.8), s.linear, s.scratch),
        _row("+ Diffusion Decoder", (74.2, 35.4), middle, s.scratch),
        _row("+ Text-Decoder Init", (69.4, 31.3), s.linear, s.text),
        _row("+ Keep Both", (75.8, 36.9), middle, s.text),
    )
    return PaperTable("1a", "parts of stage one", (_KINETICS, _MOTION), rows)


def _table_1b(s: Choices) -> PaperTable:
    rows = (
        _row("ModernBert-L last2", (73.2, 34.8), s.text, s.last[2]),
        _row("ModernBert-L last5", (75.8, 36.9), s.text, s.last[5]),
        _row("last5 w/o init", (74.2, 35.4), s.scratch, s.last[5]),
        _row("ModernBert-L last8", (75.6, 37.0), s.text, s.last[8]),
        _row("Depth-5 ViT", (74.1, 34.9), s.vit[5]),
        _row("Depth-12 ViT", (73.2, 34.4), s.vit[12]),
    )
    return PaperTable("1b", "size and start of the predictor", (_KINETICS, _MOTION), rows)


def _table_1c(s: Choices) -> PaperTable:
    # At a scale without a text encoder all rows start their predictor from scratch.
    start = s.scratch if s.text.missing else s.text
    small, middle, large = s.sizes
    rows = (
        _row("Linear Head", (69.4, 31.3), s.linear, start),
        _row("3-Layer MLP Head", (69.7, 31.2), s.mlp, start),
        _row(f"DiffMLP {small}", (73.4, 33.2), s.diffusion[0], start),
        _row(f"DiffMLP {middle}", (75.8, 36.9), s.diffusion[1], start),
        _row(f"DiffMLP {large}", (75.5, 36.4), s.diffusion[2], start),
    )
    return PaperTable("1c", "decoders", (_KINETICS, _MOTION), rows)


def _table_2(s: Choices) -> PaperTable:
    alone = _only("layers")
    rows = (
        _row("DinoV2 Align only", (68.4, 29.5, 43.3), alone, s.dinov2),
        _row("Clip-ViT Align only", (69.1, 31.2, 40.6), alone, s.clip),
        _row("SigLIP Align only", (70.7, 32.1, 42.1), alone, s.siglip),
        _row("SigLIP+VideoMAE align", (70.4, 32.5, 50.1), alone, s.siglip, s.videomae),
        _row("Ours w/ DinoV2 align", (69.3, 31.5, 58.3), s.dinov2),
        _row("Ours w/ Clip-ViT align", (73.2, 34.6, 57.8), s.clip),
        _row("Ours w/ SigLIP align", (75.8, 36.9, 59.4), s.siglip),
    )
    return PaperTable("2", "teachers", (_KINETICS, _MOTION, _DEPTH), rows)


def _table_3(s: Choices) -> PaperTable:
    first = "Stage 1"
    second = partial(_row, start=first)
    momentum = Choice(("stage.target.kind=momentum", "stage.target.momentum=0.9998"))
    frozen = Choice(moved(s.teacher, "stage.target"))
    aligned = Choice((*s.teacher.settings, "stage.layers_weight=1.0"))
    rows = (
        _row(first, (75.8, 36.9)),
        second("Our Stage 2 setting", (76.9, 56.9)),
        second("w/ Zero-Init V-JEPA Predictor", (74.8, 53.8), s.vjepa),
        second("w/ Momentum 0.9998 Target", (74.1, 54.3), momentum),
        second("w/ Frozen SigLIP2 Target", (75.4, 45.7), frozen, teacher="stage.target"),
        second("w/ Frozen InternVideo2 Target", (74.3, 47.4), s.internvideo2),
        second("w/ Unmasked Token Alignment Loss", (75.7, 51.1), aligned, teacher="stage.teacher"),
        second("w/ Pixel Reconstruction Loss", (76.8, 57.0), s.pixels),
    )
    return PaperTable("3", "stage two", (_KINETICS, _MOTION), rows)


_FIRST = "Stage-1, semantic, 8 frames"
_FIRST_PAPER = (75.8, 36.9, 59.4)
_second = partial(_row, start=_FIRST)
_MULTI_BLOCK = Choice(("stage.mask=multi_block",))


def _frames(count: int) -> Choice:
    return Choice((f"stage.frames={count}",))


def _table_4_masks(s: Choices) -> PaperTable:
    mask = ("stage.mask=semantic_topk", "stage.mask_ratio=0.8")
    semantic = Choice((*mask, *s.teacher.settings))
    rows = (
        _row(_FIRST, _FIRST_PAPER, _frames(8)),
        _row("Stage-1, multi-block, 8 frames", (74.4, 36.3, 58.1), _frames(8), _MULTI_BLOCK),
        _second(
            "Stage-2, semantic, 8 frames",
            (75.2, 52.3, 61.1),
            _frames(8),
            semantic,
            teacher="stage.teacher",
        ),
        _second("Stage-2, multi-block, 8 frames", (76.9, 56.9, 66.1), _frames(8)),
    )
    return PaperTable("4-masks", "masks", (_KINETICS, _MOTION, _DEPTH), rows)


def _table_4_frames(s: Choices) -> PaperTable:
    rows = (
        _row(_FIRST, _FIRST_PAPER, _frames(8)),
        _row("Stage-1, semantic, 16 frames", (76.4, 38.4, 59.8), _frames(16)),
        _row("Stage-1, semantic, 32 frames", (76.6, 38.6, 59.3), _frames(32)),
        # The paper's numbers for this row differ from those in the panel of masks.
        _second("Stage-2, multi-block, 8 frames", (77.0, 57.5, 67.1), _frames(8)),
        _second("Stage-2, multi-block, 16 frames", (77.4, 58.4, 68.7), _frames(16)),
        _second("Stage-2, multi-block, 32 frames", (78.1, 59.4, 70.1), _frames(32)),
    )
    return PaperTable("4-frames", "frames", (_KINETICS, _MOTION, _DEPTH), rows)


TABLES: dict[str, Callable[[Choices], PaperTable]] = {
    "1a": _table_1a,
    "1b": _table_1b,
    "1c": _table_1c,
    "2": _table_2,
    "3": _table_3,
    "4-masks": _table_4_masks,
    "4-frames": _table_4_frames,
}
