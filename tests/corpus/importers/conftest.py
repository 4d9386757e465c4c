"""A video for the importers to find."""

import pytest

from tests.media.videos import noise, write_mp4


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_mp4(tmp_path_factory.mktemp("tiny") / "a.mp4", noise(2, 16, 16))
