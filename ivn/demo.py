"""The whole method in miniature: both stages on the bundled clips, then what they have learnt."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ivn import run
from ivn.config.presets import PRESETS
from ivn.config.run import Config, override
from ivn.data.batch import Batch, ClipSpec
from ivn.data.manifest.listing import list_clips
from ivn.data.reader import read_centre
from ivn.durable import write_text
from ivn.errors import RunError
from ivn.evaluate import linear
from ivn.evaluate.motion import summary as evaluate
from ivn.evaluate.motion.clips import MOTIONS
from ivn.evaluate.motion.features import FIRST_FRAME, TEACHER, collect
from ivn.evaluate.motion.scenes import Picture, procedural_pictures, real_pictures, real_scenes
from ivn.frozen import build_teacher
from ivn.keys import make_keys
from ivn.load import load_encoder, load_model
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.model.patch import patch_grid
from ivn.progress import tracked
from ivn.report.collect.reconstructions import BRIGHTEST
from ivn.report.collect.records import PROBES, RESULT
from ivn.report.collect.write import report
from ivn.report.draw.picture import ClipView, demo_picture, shown_frames
from ivn.stages.stage1 import Stage1, Stage1Config
from ivn.train import folder

SHOWN = ("car-detection-1.mp4", "asl-book.mp4", "big-buck-bunny.mp4")

# The probed features, and what the table calls them.
TRAINED, RANDOM = "trained", "random"
LABELS = {
    TRAINED: "trained encoder",
    RANDOM: "its random-weight twin",
    TEACHER: "image teacher, every frame",
    FIRST_FRAME: "image teacher, first frame only",
}


@dataclass(frozen=True)
class Sizes:
    """How much the demo does of everything.

    Attributes:
        stage1_steps, stage2_steps: of training.
        sampling_steps: of each reconstruction that is drawn.
        per_scene: pictures of each real scene that a camera moves over.
        procedural: drawn scenes that it moves over.
    """

    stage1_steps: int = 60
    stage2_steps: int = 40
    sampling_steps: int = 50
    per_scene: int = 2
    procedural: int = 16

    @property
    def steps(self) -> dict[str, int]:
        return {"stage1": self.stage1_steps, "stage2": self.stage2_steps}


FULL = Sizes()
# All that the whole demo does, in about a minute: for trying out an installation, not for learning.
SHORT = Sizes(stage1_steps=3, stage2_steps=2, sampling_steps=5, per_scene=1, procedural=2)


def demo(out: Path, sizes: Sizes = FULL) -> int:
    """Run stage one and stage two of ``tiny``, draw and measure what they learnt.

    The last line printed is the measurement, as JSON.

    Args:
        out: a new folder; it gets ``stage1/``, ``stage2/``, ``demo.png`` and ``report.html``.
        sizes: how much to do of everything.

    Returns:
        The exit code: 0, or that of the run that was stopped.

    Raises:
        RunError, OSError: what is wrong, in a line.
    """
    folder.check_free(out)
    try:
        linear.check_installed()
    except ImportError as error:
        raise RunError(str(error)) from error
    previous = ""
    for stage, steps in sizes.steps.items():
        clips = len(list_clips(BUNDLED_CLIPS))
        print(f"\n{stage}: {steps} steps on {clips} clips", flush=True)
        code = run.start(
            _config(stage, sizes),
            data=BUNDLED_CLIPS,
            out=out / stage,
            init=previous,
            show_config=False,
        )
        if code:
            return code
        previous = str(out / stage)
    print()
    for stage in sizes.steps:
        print(f"{stage}: {losses(out / stage)}")
    print(f"picture: {draw(out, sizes)}\n", flush=True)
    found = measure(out, sizes)
    keep(found, out / "stage2")
    print("\nthe page", flush=True)
    report([out / stage for stage in sizes.steps], out=str(out / "report.html"))
    print(f"\n{evaluate.table(found, LABELS)}")
    print("pretraining saw the real clips, without labels; procedural scenes are new to it\n")
    print(json.dumps(found))
    return 0


def losses(run_dir: Path) -> str:
    """Each term of a run's loss in its first and last tenth of steps, in words."""
    lines = [json.loads(line) for line in (run_dir / folder.LOG).read_text().splitlines()]
    tenth = max(1, len(lines) // 10)

    def mean(part: list[dict], name: str) -> float:
        return sum(line["terms"][name] for line in part) / len(part)

    return ", ".join(
        f"{name} {mean(lines[:tenth], name):.3f} -> {mean(lines[-tenth:], name):.3f}"
        for name in lines[0]["terms"]
    )


@torch.no_grad()
def draw(out: Path, sizes: Sizes) -> Path:
    """Write ``demo.png``: masks on real frames, reconstructions, features of all encoders."""
    config = _config("stage1", sizes)
    assert isinstance(config.stage, Stage1Config)
    student = load_model(out / "stage1")
    stage = Stage1(config.stage, student, build_teacher(config.stage.teacher)).eval()
    encoders = {
        "random": load_encoder(config.name),
        "stage 1": student.encoder,
        "stage 2": load_encoder(out / "stage2"),
    }
    views = []
    for number, name in enumerate(SHOWN):
        clips = _clip(BUNDLED_CLIPS / name, stage.clip_specs)
        batch = Batch(clips, make_keys(0, 0, [number]))
        video = clips["student"]
        targets = stage.look(batch)
        visible, masked = stage.mask(batch, targets.attention)
        z = stage.student(video, visible, masked).predicted
        # Patches are drawn one by one: only those that the picture shows are.
        T, rows, columns = patch_grid(video, config.model.encoder.patch_size)
        here = torch.isin(masked[0] // (rows * columns), torch.from_numpy(shown_frames(T)))
        z, masked = z[:, here], masked[:, here]
        assert stage.decoder is not None
        patches = stage.decoder.sample(z, batch.keys, steps=sizes.sampling_steps, limit=BRIGHTEST)
        features = {label: encoder(video) for label, encoder in encoders.items()}
        features["teacher"] = targets.layers[-1]
        views.append(_view(name, video, visible, masked, patches, features))
    path = out / "demo.png"
    steps = f"{sizes.stage1_steps} + {sizes.stage2_steps} steps of a tiny model on a few clips"
    demo_picture(
        views, title="ivn demo", subtitle=f"{steps}: what is learnt so early is little"
    ).save(path)
    return path


def measure(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Camera motion by a linear probe on frozen features.

    Of the encoder after stage two, of the one it began as, and of stage one's image teacher.
    """
    config = _config("stage1", sizes)
    assert isinstance(config.stage, Stage1Config)
    encoders = {TRAINED: load_encoder(out / "stage2"), RANDOM: load_encoder(config.name)}
    samples = collect(
        _pictures(sizes, seed=config.data.seed),
        encoders,
        build_teacher(config.stage.teacher),
        frames=config.model.encoder.num_frames,
        size=config.model.encoder.image_height,
    )
    outcome = evaluate.probe(samples, seed=config.data.seed)
    return evaluate.summary(outcome, compare=(TRAINED, RANDOM))


def keep(found: Mapping[str, Any], run_dir: Path) -> Path:
    """Writes the measurement among a run's probes, in the form that all of them have."""
    rows = [
        {
            "encoder": LABELS[name],
            "head": "linear",
            "top1": {key: row[key] for key in ("value", "low", "high")},
            "top5": None,
            "lr": None,
            "wd": None,
        }
        for name, row in found["accuracy"].items()
    ]
    result = {
        "format": 1,
        "task": "motion",
        "encoder": {"name": str(run_dir), "identity": ""},
        "data": "frames of the bundled clips and drawn scenes under a moving camera",
        "label": "camera motion",
        "classes": found["motions"],
        "n": found["n"],
        "groups": found["groups"],
        "chance": found["chance"],
        "majority": found["chance"],
        "views": {"clips": 1, "crops": 1},
        "rows": rows,
    }
    place = run_dir / PROBES / "motion" / RESULT
    place.parent.mkdir(parents=True)
    write_text(place, json.dumps(result, indent=2) + "\n")
    return place


def _pictures(sizes: Sizes, *, seed: int) -> Iterator[Picture]:
    """What the camera moves over, shown as progress."""
    total = sizes.per_scene * len(real_scenes()) + sizes.procedural
    print(f"camera motion: features of {total * len(MOTIONS)} clips", flush=True)
    every = chain(
        real_pictures(sizes.per_scene, seed=seed), procedural_pictures(sizes.procedural, seed=seed)
    )
    yield from tracked(every, "pictures", total)


def _config(stage: str, sizes: Sizes) -> Config:
    return override(
        PRESETS[f"{stage}-tiny"](),
        f"optim.steps={sizes.steps[stage]}",
        "run.log_every=10",
    )


def _clip(path: Path, specs: dict[str, ClipSpec]) -> dict[str, Tensor]:
    return {name: read_centre(Source(str(path)), spec)[None] for name, spec in specs.items()}


def _view(
    name: str,
    video: Tensor,
    visible: Tensor,
    masked: Tensor,
    patches: Tensor,
    features: dict[str, Tensor],
) -> ClipView:
    return ClipView(
        title=name,
        frames=video[0].numpy(),
        visible_index=visible[0].numpy(),
        predicted_index=masked[0].numpy(),
        predicted=patches[0].numpy(),
        features={label: tokens[0].numpy() for label, tokens in features.items()},
    )
