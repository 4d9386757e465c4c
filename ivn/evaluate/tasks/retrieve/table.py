"""The table of a result of ``ivn evaluate retrieve``."""

from ivn.evaluate.results import Result
from ivn.evaluate.table import result_table, score_columns

_SCORES = {"recall1": "recall@1", "recall5": "recall@5", "recall10": "recall@10", "map": "mAP"}


def retrieve_table(result: Result) -> str:
    """Returns every encoder's recall and mean average precision."""
    facts = result.facts
    lines = [
        f"{facts['n']} queries of {len(facts['classes'])} classes in {facts['groups']} groups, "
        f"among {facts['gallery']} videos; videos of the query's own group are not ranked",
        "by chance: "
        + ", ".join(f"recall@{k} {value:.1%}" for k, value in facts["chance_recall"].items()),
    ]
    if facts["unasked"]:
        lines.append(f"{facts['unasked']} videos have no other of their class and are no queries")
    return result_table(result, lines, score_columns(result.rows, _SCORES))
