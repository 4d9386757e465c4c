"""Commands that try out an installation: the demo and the doctor."""

from .options import Demo, Doctor


def run_demo(options: Demo) -> int:
    """Runs the demo; returns the exit code."""
    from ivn.demo import FULL, SHORT, demo

    return demo(options.out, SHORT if options.short else FULL)


def run_doctor(options: Doctor) -> int:
    """Prints the list; returns the exit code."""
    from ivn.doctor import doctor

    return doctor(json=options.json)
