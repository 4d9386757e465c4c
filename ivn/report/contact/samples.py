"""Samples made by the trainer's own plan, keys and reader, with what was drawn for each."""

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


@dataclass(frozen=True)
class Sample:
    """One clip of a batch.

    Attributes:
        source: that it is made of.
        batch: what the stage gets of it, as a batch of one.
        whole: uint8 ``[h, w, 3]``, the middle one of its frames, whole.
        crop: what is seen of the frames.
        times: seconds from the file's first frame at which its frames appear.
    """

    source: Source
    batch: Batch
    whole: Pixels
    crop: Crop
    times: list[float]


def first_samples(
    plan: Plan, specs: Mapping[str, ClipSpec], count: int
) -> tuple[list[Sample], list[Replacement]]:
    """The first samples of the first epoch, and the broken files in whose slots some came.

    Args:
        plan: of the training.
        specs: what each consumer sees; the student's frames are those that are told.
        count: samples, at most an epoch's.

    Raises:
        DataError: ten broken files in a row.
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
    """The clips of a source, or of the first usable one that takes its slot."""
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
    """The clip with what its key drew."""
    config = plan.config
    frames = max(spec.frames for spec in specs.values())
    times = [shown.time for shown in frames_in_order(source)]
    numbers = chooser(source, specs, config, key)(len(times))
    numbers = list(numbers)[:: frames // specs["student"].frames]
    whole = decode(source, lambda _: [numbers[len(numbers) // 2]], backend=config.decoder)[0]
    height, width = whole.shape[:2]
    crop = chosen_crop(height, width, config, key, flip=config.flip and source.flip)
    batch = Batch({name: view[None] for name, view in views.items()}, key, repeats=config.repeats)
    augment(batch, config)
    return Sample(source, batch, whole.numpy(), crop, [times[number] for number in numbers])
