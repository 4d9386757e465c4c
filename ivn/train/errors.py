"""Why a run stops before its last step."""


class RunError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


class FolderInUseError(RunError):
    """Another process works in the run folder."""


class CheckpointError(RunError):
    """A checkpoint could not be written or read."""


class NotFiniteError(RunError):
    """Too many steps in a row had a loss or gradient that is not finite."""


class ReplacedError(RunError):
    """Too many files had to be replaced."""
