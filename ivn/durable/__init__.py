"""Files and folders that survive a kill and a power cut: whole, or not there.

:func:`new_file` and :func:`new_folder` write under a temporary name, ``.tmp-PID-NAME`` beside the
file to come, and rename at the end. Work that takes long keeps what is finished: :func:`parts_of`
for one large file, in a folder FILE.partial; :func:`filling` for a folder of many files. Both hold
a lock that ends with the process, and record their settings, so that the same command continues
and another one is refused.
"""

from .files import (
    TEMPORARY,
    check_absent,
    existing,
    is_temporary,
    new_file,
    new_folder,
    remove_folder,
    remove_temporaries,
    why,
    write_bytes,
    write_text,
)
from .folders import MANIFEST, filling, held
from .parts import Parts, digest, partial, parts_of

__all__ = [
    "MANIFEST",
    "TEMPORARY",
    "Parts",
    "check_absent",
    "digest",
    "existing",
    "filling",
    "held",
    "is_temporary",
    "new_file",
    "new_folder",
    "partial",
    "parts_of",
    "remove_folder",
    "remove_temporaries",
    "why",
    "write_bytes",
    "write_text",
]
