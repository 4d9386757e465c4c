"""Every error that a user can cause.

A message is one line: what was given, what was expected and what to do. A command that ends with
one prints that line and exits with the error's code; any other exception is a defect of the program
and keeps its traceback.
"""


def one_line(error: object) -> str:
    """Returns what an exception says in one line, or its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def as_text(name: str) -> str:
    """Returns a file's name, which may have any bytes, as text that UTF-8 can encode."""
    return name.encode("utf-8", "backslashreplace").decode()


class UserError(Exception):
    """A mistake outside the program.

    Attributes:
        code: exit code of a command that ends with it.
    """

    code = 1


class UsageError(UserError):
    """The command line contradicts itself, or names what does not exist."""

    code = 2


class ConfigError(UserError, ValueError):
    """A configuration does not fit its dataclass; the message names the dotted key."""

    code = 2


class DataError(UserError, ValueError):
    """Videos, lists, labels, features or heads cannot be used."""


class WriteError(DataError):
    """A file or folder cannot be written.

    Attributes:
        reason: the system's reason in a few words, with the free space on the disk.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: cannot be written ({reason})")
        self.reason = reason


# A DataError, so that callers of the library have one error to catch.
class RequestError(DataError):
    """A request makes no sense, whatever the data."""

    code = 2


class DecodeError(UserError, ValueError):
    """One video cannot be read; the message names it."""


class EncoderError(UserError, ValueError):
    """Something that a user calls an encoder is none, or not of the sizes asked for."""


class MaskError(UserError, ValueError):
    """No mask of a batch can be drawn; the message names the setting."""


class LibraryError(UserError, RuntimeError):
    """``libivn.so`` cannot be used.

    Attributes:
        why: the reason.
        fix: remedy.
    """

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(f"{why}: {fix}")
        self.why, self.fix = why, fix


class WorkerError(UserError, RuntimeError):
    """A process beside the main one ended before its work was done."""


class BenchError(UserError, RuntimeError):
    """A benchmark cannot be run, or found a wrong answer.

    Attributes:
        code: exit code of the process; 2 where the benchmark was asked wrongly.
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class RunError(UserError, RuntimeError):
    """A run cannot start or go on."""


class FolderInUseError(RunError):
    """Another process works in the run folder."""


class CheckpointError(RunError):
    """A checkpoint could not be written or read."""


class LogError(RunError):
    """The log could not be written; the checkpoints are as they were."""


class NotFiniteError(RunError):
    """Too many steps in a row had a loss or gradient that is not finite."""


class ReplacedError(RunError):
    """Too many files had to be replaced."""
