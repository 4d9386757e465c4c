"""Writes docs/cli.md, which is made of the commands' dataclasses.

python -m ivn.cli.document FILE            writes it
python -m ivn.cli.document FILE --check    exits with 1 where the file differs
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ivn import docstring
from ivn.options import Command, Spec, flat, specs

from .app import CommandGroup
from .commands import IVN

_WIDTH = 100
# ruff: noqa: E501 - a row of a table is one line
_HEAD = """\
# Command line

This page says the same as `--help` (or `-h`) after each command, and is written by
`python -m ivn.cli.document docs/cli.md`. `ivn --version` prints the version.

## Exit codes

| code | meaning |
|---|---|
| 0 | The command worked. |
| 1 | The command failed: files that are not there, damaged or no videos, a full disk, too many unusable clips, or settings that do not work with the data, the teacher, the machine or one another. |
| 2 | The command was asked wrongly: an unknown option, preset or setting, or a value outside its own range. |
| 130 | Ctrl-C stopped the command; a run that has taken a step has saved a checkpoint. |
| 143 | SIGTERM stopped the command; a run that has taken a step has saved a checkpoint. |

A wrong value gives 2 where it is wrong by itself (`optim.lr=fast`, `optim.lr=-1`): `ivn config` then
refuses it as well. It gives 1 where it only proves wrong once data, networks and machine come
together: a batch larger than the data, a mask that hides everything, a teacher's grid that is not the
student's, CUDA without a GPU.

An error is one line on standard error that begins with `ivn: `, followed by a list of unusable files
where there is one; wrong options are explained in a box. A traceback is a defect: please report it.
"""
_TAIL = """\
## Environment

| variable | meaning |
|---|---|
| `OMP_NUM_THREADS` | number of CPU threads of PyTorch and the compiled library, unless `efficiency.threads` sets it |
| `HF_HOME`, `HF_HUB_OFFLINE` | folder of hub files, and whether to fetch any; the hub's own library reads them |
| `COLUMNS` | width of help texts, up to 100 |
"""
# What becomes code or a link in a text: documents, words that are typed, settings and files.
_SPECIAL = re.compile(
    r"""
    docs/(?P<document>[\w/]+)\.md(?P<anchor>\#[\w-]+)?
    | pip\ install\ "[^"]+"
    | python\ -m\ [\w.]+
    | (?<![\w-])--[a-z][\w-]*(?:\ (?:[\w.]+=[\w.]*\w|\d+))?
    | [\w./*~{}-]*\.(?:parquet|partial|journal|toml|json|html|png|csv|txt|tar|npz|safetensors)\b
    | (?<![\w/])(?:~/|[A-Z]{3,}/)[\w./*-]*\w
    | (?<![\w.])[\w.]+=[\w./\[\],-]*[\w\]]
    | (?:timm|hf):[A-Z]*
    | \b(?:data|model|stage|optim|run|efficiency)\.[a-z_]+
    """,
    re.VERBOSE,
)


def document(group: CommandGroup = IVN, prog: str = "ivn") -> str:
    """Returns the text of docs/cli.md."""
    return "\n".join([_HEAD, *_group(group, prog, "##"), _TAIL])


def _group(group: CommandGroup, prog: str, level: str) -> Iterator[str]:
    for word, below in group.commands.items():
        name = f"{prog} {word}"
        if isinstance(below, CommandGroup):
            yield f"{level} {name}\n\n{below.summary} Each of its commands has its own `--help`.\n"
            yield from _group(below, name, f"{level}#")
        else:
            yield _command(below, name, level)


def _command(command: Command, name: str, level: str) -> str:
    options = command.options
    known = list(flat(options))
    examples = [example.removeprefix("$ ") for example in docstring.examples(options)]
    parts = [
        f"{level} {name}",
        _marked(docstring.summary(options)),
        "\n".join(["```", *_usage(name, known), "```"]),
    ]
    if examples:
        parts.append("\n".join(["```sh", *examples, "```"]))
    rows = [f"| {_cell(spec)} | {_meaning(spec)} |" for spec in specs(options)]
    parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    notes = [_marked(note) for note in docstring.notes(options)]
    parts += [_filled(note) for note in notes]
    return "\n\n".join(parts) + "\n"


def _usage(name: str, known: list[Spec]) -> list[str]:
    words = []
    for spec in known:
        typed = _value(spec)
        if not spec.look.positional:
            flag = spec.flag if spec.kind is bool else f"{spec.flag} {typed}"
            flag = flag.replace("--", "--[no-]", 1) if spec.default is True else flag
            typed = flag if spec.required else f"[{flag}]"
        words.append(typed.replace(" ", "\0"))  # an option stays on one line
    indent = " " * (len(name) + 1)
    text = _filled(f"{name} {' '.join(words)}", indent)
    return text.replace("\0", " ").splitlines()


def _filled(text: str, indent: str = "") -> str:
    """The text in lines, with an indent from the second on."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(spec: Spec) -> str:
    """The value as help names it."""
    if spec.look.metavar or get_origin(spec.kind) is not Literal:
        return spec.look.metavar
    return "|".join(get_args(spec.kind))


def _spelling(spec: Spec) -> list[str]:
    """How the option may be typed."""
    if spec.look.positional:
        return [_value(spec)]
    names = [*filter(None, [spec.look.short]), spec.flag]
    if spec.kind is bool:
        return [*names, *([spec.flag.replace("--", "--no-", 1)] if spec.default else [])]
    return [f"{name} {_value(spec)}" for name in names]


def _cell(spec: Spec) -> str:
    inside = flat(spec.kind) if is_dataclass(spec.kind) else [spec]
    spellings = [f"`{typed}`" for each in inside for typed in _spelling(each)]
    return ", ".join(spellings).replace("|", "\\|")


def _meaning(spec: Spec) -> str:
    text = _marked(spec.text).replace("|", "\\|")
    if spec.shows_default and not is_dataclass(spec.kind):
        return f"{text} Default: `{spec.typed_default()}`."
    return f"{text} Required." if spec.required and not spec.look.positional else text


def _marked(text: str) -> str:
    """A text with what is typed as code, and links to documents."""

    def mark(found: re.Match[str]) -> str:
        if document := found["document"]:
            name = document.rpartition("/")[2]
            return f"[{name}]({document}.md{found['anchor'] or ''})"
        return f"`{found[0]}`"

    return _SPECIAL.sub(mark, re.sub(rf"\b(?:{'|'.join(_names(IVN, 'ivn'))})\b", r"`\g<0>`", text))


def _names(group: CommandGroup, prog: str) -> Iterator[str]:
    """The names of all commands, longer ones first."""
    for word, below in group.commands.items():
        if isinstance(below, CommandGroup):
            yield from _names(below, f"{prog} {word}")
        yield f"{prog} {word}"


def main(arguments: list[str] | None = None) -> int:
    """Writes the page, or compares it; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="only compare")
    given: Any = parser.parse_args(arguments)
    text = document()
    if not given.check:
        given.file.write_text(text, "utf-8")
    elif given.file.read_text("utf-8") != text:
        print(f"{given.file} is not up to date: run python -m ivn.cli.document {given.file}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
