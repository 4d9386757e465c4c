"""Makes the sections of numbers over steps: losses, health, and the time of a step."""

from collections.abc import Iterable, Sequence

from .charts import Line, bar, chart
from .content import Run
from .elements import colour_key, details, faint, lead, table
from .html import Html, join, tag

_TITLES = {
    "loss": "loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "clips_per_s": "clips a second",
    "wait_share": "share of time waiting for data",
    "health.feature_std": "spread of features (feature_std)",
    "health.effective_rank": "effective rank of features",
}
_NOISY = ("loss", "terms.", "grad_norm", "health.")
# Names as the log has them, by their beginning, and under which heading they stand.
_GROUPS = (
    ("Loss and its terms", ("loss", "terms.")),
    ("Learning rate, gradient, speed", ("lr", "grad_norm", "clips_per_s", "wait_share")),
    (
        "Health: do features differ between clips, and agree with the teacher",
        ("health.feature_std", "health.effective_rank", "health.cosine."),
    ),
)


def curves(runs: Sequence[Run]) -> Html:
    """Returns the charts of all series in the logs, with one line per run."""
    names = [name for run in runs if run.log is not None for name in run.log.series]
    left = list(dict.fromkeys(names))
    if not left:
        return faint("No run here has logged a step.")
    parts = [_legend(runs)]
    for title, beginnings in _GROUPS:
        taken = [name for name in left if name.startswith(beginnings)]
        left = [name for name in left if name not in taken]
        if taken:
            parts += [tag("h3", {"class": "group"}, title), _charts(runs, taken)]
    if left:
        parts.append(details("Gradient and update norms of each part", _charts(runs, left)))
    return join(parts)


def timing(runs: Sequence[Run]) -> Html:
    """Returns the mean time of a step: waiting for data, and work."""
    timed = [(number, run) for number, run in enumerate(runs) if run.seconds_per_step is not None]
    if not timed:
        return faint("No log here says how long its steps took.")
    rows = []
    for number, run in timed:
        assert run.seconds_per_step is not None and run.log is not None
        wait, work = run.seconds_per_step
        whole = wait + work or 1.0
        speeds = sorted(run.log.series["clips_per_s"].values)
        said = f"{wait / whole:.0%} waiting for data, {work / whole:.0%} everything else"
        shares = bar((("wait", wait / whole), ("work", work / whole)), said)
        times = [*map(_seconds, (whole, wait, work)), f"{speeds[len(speeds) // 2]:.3g}"]
        rows.append([join([colour_key(number), f" {run.name}"]), *times, shares])
    heads = ["run", "a step", "waits for data", "works", "clips/s, median", ""]
    note = (
        "Means over all steps, between one fetch of metrics and the next. Working is the teacher, "
        "the student, its gradients and the optimiser together: a log does not separate them."
    )
    return join([lead(note), table("timing", heads, rows, numbers=range(1, 5))])


def _legend(runs: Sequence[Run]) -> Html:
    keys = [tag("span", {}, colour_key(number), run.name) for number, run in enumerate(runs)]
    choices = []
    for value, label in (("lin", "linear"), ("log", "logarithmic")):
        checked = "" if value == "lin" else None
        button = {"type": "radio", "name": "scale", "value": value, "checked": checked}
        choices.append(tag("label", {}, tag("input", button), f" {label}"))
    legend = {"class": "choice", "aria-label": "scale of values above zero"}
    return tag("div", {"class": "legend"}, *keys, tag("fieldset", legend, *choices))


def _charts(runs: Sequence[Run], names: Iterable[str]) -> Html:
    drawn = []
    for name in names:
        lines = [
            Line(run.name, number, run.log.series[name])
            for number, run in enumerate(runs)
            if run.log is not None and name in run.log.series
        ]
        drawn.append(chart(_title(name), lines, noisy=name.startswith(_NOISY)))
    return tag("div", {"class": "charts"}, *drawn)


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    for beginning, title in (
        ("terms.", "term: {}"),
        ("health.cosine.", "cosine to the teacher: {}"),
        ("health.grad_norm.", "gradient norm: {}"),
        ("health.update_norm.", "update norm: {}"),
    ):
        if name.startswith(beginning):
            return title.format(name.removeprefix(beginning))
    return name


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"
