import pytest

from ivn.corpus.importers.auto import recognised
from ivn.errors import DataError
from tests.corpus.importers.published import CASES, written

UNMISTAKABLE = (
    *("ssv2", "activitynet", "moments", "coin", "epic-kitchens-100", "ucf101", "ava", "msrvtt"),
    *("didemo", "charades", "charades-sta"),
)


@pytest.mark.parametrize("name", UNMISTAKABLE)
def test_the_files_say_which_format_they_are_of(tmp_path, name):
    assert recognised(written(tmp_path, CASES[name][0])) == name


def test_files_of_which_only_some_speak_are_told_by_these(tmp_path):
    for name in ("hacs", "youcook2", "hmdb51"):
        files = written(tmp_path, CASES[name][0])
        assert recognised(files[:1]) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kinetics400", "which look alike: give --format kinetics400, kinetics600"),
        ("videomae", "could be of several formats: give --format its name"),
        ("internvideo", "could be of several formats"),
        ("kinetics710", "could be of several formats"),
        ("mmaction2", "could be of several formats"),
    ],
)
def test_what_could_be_something_else_is_asked_for(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        recognised(written(tmp_path, CASES[name][0]))


def test_files_of_two_formats_are_told(tmp_path):
    files = written(tmp_path, CASES["ssv2"][0] | CASES["coin"][0])
    with pytest.raises(DataError, match="are ssv2 and coin: give --format its name"):
        recognised(files)
