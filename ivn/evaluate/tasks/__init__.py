"""The tasks of ``ivn evaluate``: a room for each, and the table that names them all.

``tasks/NAME`` holds the task's ``options.py``, ``command.py``, ``table.py`` and the task itself in
``task.py``. This table is all that knows of it: the command line and its help follow from it, and
pages of runs show any result whose entries are those of :class:`ivn.evaluate.results.Facts`.
"""

from ivn.options import Command

from .classify.options import Classify
from .motion.options import Motion
from .retrieve.options import Retrieve

TASKS = {
    "classify": Command(Classify, "ivn.evaluate.tasks.classify.command:run"),
    "retrieve": Command(Retrieve, "ivn.evaluate.tasks.retrieve.command:run"),
    "motion": Command(Motion, "ivn.evaluate.tasks.motion.command:run"),
}
