"""What has been found out so far, in a file that a killed process leaves usable."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from ivn.errors import DataError


class Journal:
    """Answers by key, each written as soon as it is known; a second start finds them again.

    A file of JSON lines, which one process at a time can have. The last line may be cut off: it
    is ignored.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError where the file cannot be written, or another process has it."""
        self.path = path
        self._known: dict[str, Any] = {}
        try:
            self._file = path.open("ab+")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise DataError(f"{path}: another process works on it; wait for it") from None
            self._file.seek(0)
            self._file.truncate(self._read())
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror})") from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Raises DataError where it cannot be written, as when the disk is full."""
        self._known[key] = value
        line = json.dumps([key, value]).encode() + b"\n"
        try:
            # Past the buffer, which would try again when it is closed.
            while line:
                line = line[os.write(self._file.fileno(), line) :]
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror})") from error

    def remove(self) -> None:
        """When all is done."""
        os.unlink(self.path)
        self._file.close()

    def _read(self) -> int:
        """Bytes up to the end of the last whole line."""
        whole = 0
        for line in self._file:
            try:
                key, value = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self._known[key] = value
            whole += len(line)
        return whole
