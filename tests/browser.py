"""Headless Chromium, and what a page did while it was open."""

import contextlib
import os
import shutil
from dataclasses import dataclass, field

import pytest

# One process in a container: no sandbox, no GPU, and nothing that asks a host on its own account.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Seen:
    """What a page did: requests but for data: ones, errors, dialogs."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextlib.contextmanager
def chromium():
    """A browser; skips where there is none, unless IVN_REQUIRE_CHROMIUM=1."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        reason = "no chromium: apt-get install chromium"
        if os.environ.get("IVN_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"IVN_REQUIRE_CHROMIUM is 1 and there is {reason}")
        pytest.skip(reason)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, file, *, width=1280, scheme="light", **options):
    """The page of a file, and what it does while it is open."""
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, **options)
    page, seen = context.new_page(), Seen()
    page.on("request", lambda r: r.url.startswith("data:") or seen.requests.append(r.url))
    page.on("console", lambda m: m.type in ("error", "warning") and seen.errors.append(m.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))

    def refuse(dialog):
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    try:
        page.goto(file.as_uri())
        page.wait_for_load_state("load")
        yield page, seen
    finally:
        context.close()
