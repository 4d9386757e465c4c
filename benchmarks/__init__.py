"""Benchmarks, imported as ``ivn.benchmarks`` (setup.py maps the name to this folder).

``ops/bench_<noun>.py`` holds an operation's cases, ``ops/run.py`` runs them and
``harness/measure.py`` measures.
"""
