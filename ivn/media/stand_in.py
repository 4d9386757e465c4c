"""Recognises files that stand in for another: Git LFS pointers and web pages."""

import os

HEAD = 512  # bytes of a file's beginning that are looked at

_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype html", b"<html", b"<head")
_WHITE = b"\xef\xbb\xbf \t\r\n"  # a byte order mark and white space may precede a page


def stand_in(head: bytes) -> str:
    """Returns what a file that begins with ``head`` is and what to do; "" for any other file."""
    if head.startswith(_POINTER):
        return "it is a Git LFS pointer, not the file itself: git lfs pull fetches that"
    text = head[:HEAD].lstrip(_WHITE).lower()
    # Storage services answer in XML, and some pages are written in it.
    xml = text.startswith(b"<?xml") and (b"<html" in text or b"<error" in text)
    if xml or text.startswith(_PAGE):
        return (
            "it is a web page (HTML or XML), not the file itself: its address asks for a login, or "
            "is that of a page about the file; fetch the file itself"
        )
    return ""


def stand_in_at(path: str | os.PathLike[str]) -> str:
    """Returns :func:`stand_in` of the file at ``path``; "" where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return stand_in(file.read(HEAD))
    except OSError:  # the caller has an error of its own to report
        return ""
