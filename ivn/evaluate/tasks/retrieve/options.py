"""Options of ``ivn evaluate retrieve``."""

from dataclasses import dataclass

from ivn.evaluate.options import Labelled


@dataclass(frozen=True, kw_only=True)
class Retrieve(Labelled):
    """Measure how often the nearest videos of other groups are of the same class.
    $ ivn evaluate retrieve --encoder RUN --data LIST --label NAME

    Nothing is trained. Beside the encoders stand statistics of the raw pixels and, for a run, timm:
    and hf:, the same network with random weights. The last line
    printed is the result as JSON. Unusable videos are named, left out and counted.
    """
