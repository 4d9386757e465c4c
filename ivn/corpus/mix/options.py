"""Options of ``ivn data mix``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.limits import Limits
from ivn.errors import UsageError
from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Mix(Limits):
    """Write one manifest of several, without copies.
    $ ivn data mix --recipe k710 kinetics400=A.parquet kinetics600=B.parquet -o K710.parquet

    Copies are found by their bytes and by what they show, whatever their encoding, size, cut and
    name. The row of the manifest that is given first stays. MIX.mix.json says how many rows were
    left out and why, MIX.dropped.csv which rows.

    A video that cannot be read within the time limit is not in the mix, and is named with the
    reason. If two videos cannot be compared within it, both stay, and the report names them.
    Results are kept in MIX.parquet.partial until the mix is complete: after a stop, the same
    command continues from there. Nothing is overwritten. See docs/data.md#mixes for recipes.

    Attributes:
        manifests: manifests to mix, each as a path or as NAME=path; without a name, a manifest has
            that of its file.
        out: manifest to write; it must not exist.
        recipe: k710, k-mash or a file that ends in .toml, which says which sources are used and by
            which rules.
        weight: sampling weight of each row of a source, by the name of the source; 1 by default.
        seconds: time limit per video, and per comparison of two videos, in seconds.
        max_bad: largest share of unreadable rows with which the exit code is 0.
    """

    manifests: Annotated[tuple[str, ...], Positional("M ...")]
    out: Annotated[str, Option("MIX.parquet", short="-o")]
    recipe: Annotated[str, Unset("NAME|FILE")] = ""
    weight: Annotated[tuple[str, ...], Unset("NAME=X ...")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.manifests:
            raise UsageError("give at least one M: ivn data mix M... -o MIX.parquet")
