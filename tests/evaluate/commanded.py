"""`ivn evaluate` on lists that tests write."""

import csv
import json

import pytest

from ivn.media.source import BUNDLED_CLIPS
from tests.command import command

pytest.importorskip("av")

SIGNS = sorted(path.name for path in BUNDLED_CLIPS.glob("asl-*.mp4"))
PEOPLE = sorted(path.name for path in BUNDLED_CLIPS.glob("*face*.mp4"))
SMALL = ["--encoder", "stage1-tiny", "--frames", "4", "--size", "56"]
RAW = ["--encoder", "raw", "--frames", "2", "--size", "16"]


def write_list(path, rows, columns=("path", "label", "group")):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(rows)
    return path


def bundled(names, label):
    return [(BUNDLED_CLIPS / name, label, "") for name in names]


def labelled(patterns, label=lambda number: "ab"[number % 2], count=20):
    return [(patterns / f"{number}.mkv", label(number), "") for number in range(count)]


def classify(data, *more, encoder=RAW):
    return command("evaluate", "classify", *encoder, "--data", data, *more)


def result(said):
    code, out, err = said
    assert (code, err) == (0, ""), err
    return json.loads(out.splitlines()[-1])
