"""All commands: options and function of each."""

import importlib.util

from ivn.ablation.options import Ablate
from ivn.corpus.check.options import Check
from ivn.corpus.index.options import Index
from ivn.corpus.mix.options import Mix
from ivn.corpus.shard.options import Shard
from ivn.corpus.transcode.options import Transcode
from ivn.corpus.worlds import WORLDS
from ivn.embed.options import Embed
from ivn.evaluate.options import Predict
from ivn.evaluate.tasks import TASKS
from ivn.options import Command
from ivn.report.contact.options import View
from ivn.report.options import Report

from .app import CommandGroup
from .options import Demo, Doctor, Pretrain, ShowConfig

_DATA = CommandGroup(
    "Prepare videos before anything is trained.",
    {
        "render": CommandGroup("Render a world whose ground truth is known.", WORLDS),
        "index": Command(Index, "ivn.corpus.index.command:index"),
        "check": Command(Check, "ivn.corpus.check.command:check"),
        "mix": Command(Mix, "ivn.corpus.mix.command:mix_manifests"),
        "transcode": Command(Transcode, "ivn.corpus.transcode.command:transcode_manifest"),
        "shard": Command(Shard, "ivn.corpus.shard.command:shard_manifest"),
        "view": Command(View, "ivn.report.contact.command:view"),
    },
)
_EVALUATE = CommandGroup("Measure what frozen encoders have learnt, beside baselines.", TASKS)


def _benchmarks() -> dict[str, CommandGroup]:
    """Returns the group of benchmarks, unless Python has found a checkout that is not installed.

    Such a checkout has no ``ivn.benchmarks``; ``ivn doctor``, which names the remedy, still runs.
    """
    if importlib.util.find_spec("ivn.benchmarks") is None:
        return {}
    from ivn.benchmarks.decode.options import BenchDecode
    from ivn.benchmarks.ops.options import BenchOps

    commands = {
        "ops": Command(BenchOps, "ivn.benchmarks.ops.run:bench"),
        "decode": Command(BenchDecode, "ivn.benchmarks.decode.bench_decode:bench"),
    }
    return {"bench": CommandGroup("Measure how fast things are on this machine.", commands)}


IVN = CommandGroup(
    "Pretrain video encoders from raw, unlabelled video. ivn --version prints the version.",
    {
        "pretrain": Command(Pretrain, "ivn.cli.pretrain:pretrain"),
        "config": Command(ShowConfig, "ivn.cli.config:show_config"),
        "demo": Command(Demo, "ivn.cli.machine:run_demo"),
        "ablate": Command(Ablate, "ivn.ablation.run:ablate"),
        "data": _DATA,
        "embed": Command(Embed, "ivn.embed.run:embed"),
        "evaluate": _EVALUATE,
        "predict": Command(Predict, "ivn.evaluate.predict:run_predict"),
        "report": Command(Report, "ivn.report.collect.write:report"),
        **_benchmarks(),
        "doctor": Command(Doctor, "ivn.cli.machine:run_doctor"),
    },
)
