"""Makes samples by the trainer's own plan, keys and reader, and keeps what was drawn for each."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ivn.data.augment.augment import augment
from ivn.data.batch import Batch, ClipSpec, Replacement
from ivn.data.crop import Crop
from ivn.data.reader import chooser, chosen_crop, read_clips
from ivn.data.sampling.plan import BatchSlot, Plan
from ivn.errors import DecodeError
from ivn.media.decode import decode, frames_in_order
from ivn.media.source import Source
from ivn.report.draw.images import Pixels
from ivn.stages.teachers import STUDENT


@dataclass(frozen=True)
class Sample:
    """One clip of a batch.

    Attributes:
        source: source of the clip.
        batch: the clip as the stage gets it, a batch of one.
        whole: the middle frame, uncropped, uint8 ``[h, w, 3]``.
        crop: part of the frames that is seen.
        times: seconds from the file's first frame to each frame of the clip.
    """

    source: Source
    batch: Batch
    whole: Pixels
    crop: Crop
    times: list[float]


def first_samples(
    plan: Plan, specs: Mapping[str, ClipSpec], count: int
) -> tuple[list[Sample], list[Replacement]]:
    """Returns the first samples of the first epoch, and the unusable files that were replaced.

    Args:
        plan: plan of the training.
        specs: consumer -> its share of a clip; the samples' frames are the student's.
        count: number of samples, at most an epoch's.

    Raises:
        DataError: Eleven files in a row are unusable.
    """
    samples: list[Sample] = []
    replaced: list[Replacement] = []
    for step in range(plan.steps_per_epoch):
        for slot in plan.slots(step, plan.keys(step)):
            samples += _samples(plan, slot, specs)
            replaced += slot.substitutions()
            if len(samples) >= count:
                return samples[:count], replaced
    return samples, replaced


def _samples(plan: Plan, slot: BatchSlot, specs: Mapping[str, ClipSpec]) -> list[Sample]:
    """Returns the clips of a source, or of the first usable one that takes its slot."""
    while True:
        try:
            source = slot.source
            clips = read_clips(source, specs, plan.config, slot.keys)
            return [
                _sample(plan, source, specs, views, key)
                for views, key in zip(clips, slot.keys.split(1), strict=True)
            ]
        except DecodeError as error:
            slot.mark_unusable(str(error))


def _sample(
    plan: Plan,
    source: Source,
    specs: Mapping[str, ClipSpec],
    views: Mapping[str, Tensor],
    key: Tensor,
) -> Sample:
    """Returns the clip with all that its key drew."""
    config = plan.config
    frames = max(spec.frames for spec in specs.values())
    times = [shown.time for shown in frames_in_order(source)]
    numbers = chooser(source, specs, config, key)(len(times))
    numbers = list(numbers)[:: frames // specs[STUDENT].frames]
    whole = decode(source, lambda _: [numbers[len(numbers) // 2]], backend=config.decoder)[0]
    height, width = whole.shape[:2]
    crop = chosen_crop(height, width, config, key, flip=config.flip and source.flip)
    batch = Batch({name: view[None] for name, view in views.items()}, key, repeats=config.repeats)
    augment(batch, config)
    return Sample(source, batch, whole.numpy(), crop, [times[number] for number in numbers])
