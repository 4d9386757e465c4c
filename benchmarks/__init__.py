"""Benchmarks, imported as ``ivn.benchmarks`` (setup.py maps the name to this folder).

``bench_<noun>.py`` holds an operation's cases, ``ops.py`` runs them, ``measure.py`` measures.
"""
