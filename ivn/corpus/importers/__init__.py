"""Annotation files as their data sets publish them, read into rows of a manifest.

    videos = Videos("/data/k400")
    rows = IMPORTERS["kinetics400"].read([Path("train.csv")], videos)
    write_manifest("k400.parquet", rows)
    print(videos.missing)

An importer reads the annotations as they are: what is wrong in them is an error that names the
file and the line or record. Rows whose video is not there, and segments that end before they
start, are left out and counted by :class:`ivn.corpus.importers.videos.Videos`.

A new importer's module is imported here, beside the others, so that it is known; see
:mod:`ivn.corpus.importers.importer`.
"""

from ivn.corpus.importers import (  # noqa: F401 - importing a module makes its formats known
    activitynet,
    ava,
    charades,
    coin,
    didemo,
    epic,
    hmdb51,
    kinetics,
    lists,
    moments,
    msrvtt,
    ssv2,
    ucf101,
    youcook2,
)
from ivn.corpus.importers.importer import IMPORTERS, Importer
from ivn.corpus.importers.videos import Videos

__all__ = ["IMPORTERS", "Importer", "Videos"]
