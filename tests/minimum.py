"""Prints pip's constraints for the lowest versions that pyproject.toml allows."""

import re
import tomllib

from tests.processes import ROOT


def lowest() -> list[str]:
    """Each requirement that has a lower bound, to build, to run or of an extra: "name==version"."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = stated["project"]
    found = [*stated["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        found += extra
    bounds = (re.match(r"([\w-]+)\s*>=\s*([\d.]+)", requirement) for requirement in found)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})


if __name__ == "__main__":
    print("\n".join(lowest()))
