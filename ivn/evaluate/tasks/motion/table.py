"""The table of a result of ``ivn evaluate motion``."""

from ivn.evaluate.results import Result
from ivn.evaluate.table import result_table, score_columns


def motion_table(result: Result) -> str:
    """Returns every encoder's accuracy over all camera motions and over each kind of picture."""
    facts, rows = result.facts, result.rows
    kinds = sorted(facts["kinds"], reverse=True)
    counts = ", ".join(
        f"{facts['kinds'][kind]} of {kind} pictures, {facts['kinds'][kind] / facts['n']:.0%}"
        for kind in kinds
    )
    lines = [
        f"{facts['n']} clips of {len(facts['classes'])} camera motions ({counts}) in "
        f"{facts['groups']} scenes, each judged by a linear readout of other scenes "
        f"({facts['split']['folds']} folds); intervals are over scenes",
        f"by chance: {facts['chance']:.1%}",
    ]
    by_kind = {kind: [f"{row.extra['by_kind'][kind]:.1%}" for row in rows] for kind in kinds}
    columns = {**score_columns(rows, {"top1": "accuracy"}), **by_kind}
    parts = [result_table(result, lines, columns)]
    for gain in facts["differences"]:
        value, low, high = (f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high"))
        parts.append(
            f"{gain['encoder']} less {gain['baseline']}: {value} points "
            f"(95% interval {low} to {high})"
        )
    return "\n".join(parts)
