"""``ivn evaluate classify``."""

import os
from pathlib import Path

from ivn.evaluate.command import cache_of, finish, listed, result_folder
from ivn.evaluate.heads import file as headfile
from ivn.evaluate.heads.training import Training
from ivn.evaluate.subjects import device_of, subjects

from .options import Classify
from .table import classify_table
from .task import Classified, classify


def run(options: Classify) -> int:
    """Measures encoders and their baselines, and saves the heads; prints a table, then JSON."""
    device = device_of(options)
    training = Training(options.epochs, options.batch, seed=options.seed, device=device)
    out = result_folder("classify", options)
    sources = listed(options.data)
    judged = listed(options.test) if options.test else ()
    frozen, baselines = subjects(options)
    result = classify(
        frozen,
        sources,
        test=judged,
        label=options.label,
        heads=options.heads,
        pool=options.pool,
        tokens=options.tokens,
        clips=options.clips,
        crops=options.crops,
        train_views=options.train_views,
        folds=options.folds,
        holdout=options.holdout,
        lr=options.lr,
        wd=options.wd,
        training=training,
        seed=options.seed,
        baselines=baselines,
        cache=cache_of(options),
        workers=options.workers,
    )
    result.facts |= {"data": options.data, "test": options.test}
    if out is not None:
        _save_heads(result, out)
    return finish(result, classify_table(result), out)


def _save_heads(result: Classified, out: Path) -> None:
    """Writes the heads of all encoders but baselines, and names the best in the result."""
    for number, (head, row) in enumerate(zip(result.heads, result.rows, strict=True)):
        if not row.baseline:
            path = headfile.save(head, out / headfile.FOLDER, facts=result.facts)
            row.extra["saved"] = os.fspath(path.relative_to(out))
            if number == result.best:
                result.facts["best_head"] = row.extra["saved"]
