"""``ivn evaluate retrieve``."""

from ivn.evaluate.command import cache_of, finish, listed, result_folder
from ivn.evaluate.subjects import subjects

from .options import Retrieve
from .table import retrieve_table
from .task import retrieve


def run(options: Retrieve) -> int:
    """Measures which videos are nearest; prints a table, then all of it as JSON."""
    out = result_folder("retrieve", options)
    sources = listed(options.data)
    frozen, baselines = subjects(options)
    result = retrieve(
        frozen,
        sources,
        label=options.label,
        pool=options.pool,
        clips=options.clips,
        crops=options.crops,
        seed=options.seed,
        baselines=baselines,
        cache=cache_of(options),
        workers=options.workers,
    )
    result.facts["data"] = options.data
    return finish(result, retrieve_table(result), out)
