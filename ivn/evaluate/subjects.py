"""The encoders of a command, and the baselines that stand beside them."""

from pathlib import Path

from ivn.config.run import read
from ivn.errors import DataError
from ivn.evaluate.options import Evaluation, Predict
from ivn.frozen import AT_RANDOM, LIBRARIES, RAW
from ivn.frozen.encoders import Frozen, FrozenEncoder
from ivn.load import load_frozen
from ivn.model.encoder import build_encoder
from ivn.train import folder
from ivn.train.settings import resolve_device


def subjects(options: Evaluation) -> tuple[list[Frozen], list[Frozen]]:
    """Returns the encoders, and their baselines: random twins, and raw pixels.

    Runs and networks of other libraries have twins.
    """
    device = device_of(options)
    names = list(dict.fromkeys(options.encoder))
    frames, size = options.frames or None, options.size or None
    found = [
        load_frozen(name, frames=frames, size=size, device=device, **options.sizes.given())
        for name in names
    ]
    beside: list[Frozen] = []
    for name, one in zip(names, found, strict=True):
        if folder.is_run(Path(name)):
            beside.append(_twin(name, one, device))
        elif (
            name.startswith(LIBRARIES)
            and (twin := f"{name.removesuffix(AT_RANDOM)}{AT_RANDOM}") not in names
        ):
            spec = one.spec
            beside.append(load_frozen(twin, frames=spec.frames, size=spec.size, device=device))
    if RAW not in names:
        spec = found[0].spec
        beside.append(load_frozen(RAW, frames=spec.frames, size=spec.size))
    return found, beside


def device_of(options: Evaluation | Predict) -> str:
    """Returns the device by its own name.

    Raises:
        DataError: there is none.
    """
    try:
        return resolve_device(options.device).type
    except ValueError:
        raise DataError("--device is cuda, but PyTorch sees no GPU; ivn doctor says why") from None


def _twin(run: str, frozen: Frozen, device: str) -> Frozen:
    """Returns the encoder of a run with the random weights that the run's seed gives."""
    config = read(Path(run) / folder.CONFIG)
    encoder = build_encoder(config.model.encoder, seed=config.data.seed).to(device)
    return FrozenEncoder(f"{run}, random weights", encoder, frozen.spec)
