"""The whole method in miniature: both stages on the bundled clips, then what they have learnt."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ivn import run
from ivn.config.presets import PRESETS
from ivn.config.run import Config, override
from ivn.data.batch import Batch, ClipSpec
from ivn.data.manifest.listing import list_clips
from ivn.data.reader import read_centre
from ivn.errors import RunError
from ivn.evaluate import linear, results
from ivn.evaluate.tasks.motion.clips import MOTIONS
from ivn.evaluate.tasks.motion.scenes import BundledPictures
from ivn.evaluate.tasks.motion.table import motion_table
from ivn.evaluate.tasks.motion.task import probe_motion
from ivn.frozen.encoders import FrozenEncoder, FrozenTeacher
from ivn.keys import make_keys
from ivn.load import load_encoder
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.model.decoder import DiffusionDecoder
from ivn.model.patch import patch_grid
from ivn.progress import tracked
from ivn.report.collect.opened import Opened, open_run
from ivn.report.collect.reconstructions import BRIGHTEST
from ivn.report.collect.records import read_run
from ivn.report.collect.write import report
from ivn.report.draw.picture import ClipView, demo_picture, shown_frames
from ivn.report.options import Report
from ivn.report.page.content import Missing
from ivn.train import folder

SHOWN = ("car-detection-1.mp4", "asl-book.mp4", "big-buck-bunny.mp4")

# The probed features: the trained encoder, and what stands beside it.
LABELS = (
    "trained encoder",
    "its random-weight twin",
    "image teacher, every frame",
    "image teacher, first frame only",
)


@dataclass(frozen=True)
class Sizes:
    """Amounts of work in the demo.

    Attributes:
        stage1_steps, stage2_steps: training steps of each stage.
        sampling_steps: diffusion steps of each reconstruction in the picture.
        per_scene: pictures of each real scene that a camera moves over.
        procedural: drawn scenes that a camera moves over.
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
    """Runs stage one and stage two of ``tiny``, then draws and measures what they learnt.

    The last line printed is the measurement, as JSON.

    Args:
        out: a new folder; it gets ``stage1/``, ``stage2/``, ``demo.png`` and ``report.html``.
        sizes: amounts of work.

    Returns:
        The exit code: 0, or that of the run that was stopped.

    Raises:
        RunError, OSError: one line that says what is wrong.
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
    missing: list[Missing] = []
    first = open_run(out / "stage1", _config("stage1", sizes), "stage1", missing)
    if missing:
        raise RunError(f"{out / 'stage1'}: {missing[0].what}: {missing[0].why}")
    print(f"picture: {draw(first, out, sizes)}\n", flush=True)
    result = measure(first, out / "stage2", sizes)
    results.write(result, out / "stage2" / results.PROBES / "motion")
    print("\nthe page", flush=True)
    runs = tuple(str(out / stage) for stage in sizes.steps)
    report(Report(runs=runs, out=str(out / "report.html")))
    print(f"\n{motion_table(result)}")
    print("pretraining saw the real clips, without labels; procedural scenes are new to it\n")
    print(json.dumps(result.json()))
    return 0


def losses(run_dir: Path) -> str:
    """Returns a run's loss and terms in its first and last tenth of steps, in words."""
    log = read_run(run_dir)[0].log
    means = log.losses() if log is not None else {}
    return ", ".join(f"{name} {first:.3f} -> {last:.3f}" for name, (first, last) in means.items())


@torch.no_grad()
def draw(first: Opened, out: Path, sizes: Sizes) -> Path:
    """Writes ``demo.png``: masks on real frames, reconstructions, features of all encoders.

    Args:
        first: the run of stage one.
        out: the demo's folder.
        sizes: amounts of work.
    """
    stage, patch_size = first.stage, first.config.model.encoder.patch_size
    assert stage is not None and isinstance(stage.decoder, DiffusionDecoder)
    encoders = {
        "random": first.untrained(),
        "stage 1": stage.encoder,
        "stage 2": load_encoder(out / "stage2"),
    }
    views = []
    for number, name in enumerate(SHOWN):
        source = Source(str(BUNDLED_CLIPS / name))
        clips = {key: read_centre(source, spec)[None] for key, spec in stage.clip_specs.items()}
        batch = Batch(clips, make_keys(0, 0, [number]))
        video = clips["student"]
        targets = stage.semantic.look(batch)
        visible, masked = stage.mask(batch, targets.attention)
        assert isinstance(visible, Tensor) and isinstance(masked, Tensor)
        z = stage.student(video, visible, masked).predicted
        # Patches are drawn one by one: only those that the picture shows are.
        T, rows, columns = patch_grid(video, patch_size)
        here = torch.isin(masked[0] // (rows * columns), torch.from_numpy(shown_frames(T)))
        z, masked = z[:, here], masked[:, here]
        patches = stage.decoder.sample(z, batch.keys, steps=sizes.sampling_steps, limit=BRIGHTEST)
        features = {label: encoder(video) for label, encoder in encoders.items()}
        features["teacher"] = targets.layers[-1]
        views.append(
            ClipView(
                title=name,
                frames=video[0].numpy(),
                visible_index=visible[0].numpy(),
                predicted_index=masked[0].numpy(),
                predicted=patches[0].numpy(),
                features={label: tokens[0].numpy() for label, tokens in features.items()},
            )
        )
    path = out / "demo.png"
    steps = f"{sizes.stage1_steps} + {sizes.stage2_steps} steps of a tiny model on a few clips"
    demo_picture(
        views, title="ivn demo", subtitle=f"{steps}: what is learnt so early is little"
    ).save(path)
    return path


def measure(first: Opened, run_dir: Path, sizes: Sizes) -> results.Result:
    """Returns how well frozen features tell camera motions apart, as ``ivn evaluate motion`` does.

    The encoder after stage two is compared with one of random weights and with stage one's image
    teacher, which reads every frame, or the first frame alone, as a still picture.

    Args:
        first: the run of stage one.
        run_dir: the run of stage two.
        sizes: amounts of work.
    """
    config = first.config
    assert first.stage is not None
    teacher = first.stage.teachers["teacher"].network
    spec = ClipSpec(config.model.encoder.num_frames, config.model.encoder.image_height)
    trained, twin, every_frame, first_frame = LABELS
    pictures = BundledPictures(sizes.per_scene, sizes.procedural, seed=config.data.seed)
    print(f"camera motion: features of {len(pictures) * len(MOTIONS)} clips", flush=True)
    result = probe_motion(
        [FrozenEncoder(trained, load_encoder(run_dir), spec)],
        tracked(pictures, "pictures", len(pictures), errors=True),
        seed=config.data.seed,
        baselines=[
            FrozenEncoder(twin, first.untrained(), spec),
            FrozenTeacher(every_frame, teacher, spec, frames=spec.frames),
            FrozenTeacher(first_frame, teacher, spec, frames=1),
        ],
    )
    result.facts["data"] = "frames of the bundled clips and drawn scenes under a moving camera"
    return result


def _config(stage: str, sizes: Sizes) -> Config:
    return override(
        PRESETS[f"{stage}-tiny"](),
        f"optim.steps={sizes.steps[stage]}",
        "run.log_every=10",
    )
