import pytest

from ivn.media.decode import dali, route, torchcodec
from tests.media.decode.clips import Facts

# What a file is, and where it goes.
TABLE = [
    (Facts(), "dali"),
    (Facts(pixel_format="yuvj420p"), "dali"),
    (Facts(width=1920, height=1080, keyframe_seconds=10.0), "dali"),
    (Facts("hevc"), "dali"),
    (Facts("vp8"), "dali"),
    (Facts("vp9"), "dali"),
    (Facts("av1"), "pyav"),
    (Facts(pixel_format="yuv422p"), "pyav"),
    (Facts(pixel_format="yuv444p"), "pyav"),
    (Facts(pixel_format="yuv420p10le"), "pyav"),
    (Facts("hevc", "yuv420p10le"), "pyav"),
    (Facts("mpeg4"), "pyav"),
    (Facts("mpeg2video"), "pyav"),
    (Facts("gif", "bgra"), "pyav"),
    (Facts("cinepak", "rgb24"), "pyav"),
    (Facts(variable_rate=True), "pyav"),
    (Facts(rotation=90), "pyav"),
    (Facts(mirrored=True), "pyav"),
    (Facts(streams=2), "pyav"),
    (Facts(width=40, height=30), "pyav"),
    (Facts(width=4096, height=2304), "dali"),
    (Facts(width=7680, height=4320), "pyav"),
    (Facts("hevc", width=7680, height=4320), "dali"),
    (Facts("hevc", width=176, height=128), "pyav"),
    (Facts("vp9", width=128, height=128), "dali"),
    (Facts("vp9", width=126, height=128), "pyav"),
    (Facts("", ""), "pyav"),
]
UNFIT = [("mpeg4", "yuv420p"), ("h264", "yuv420p10le")]


@pytest.mark.parametrize(("facts", "name"), TABLE, ids=str)
def test_a_file_goes_to_the_gpu_only_if_its_decoder_can_take_it(facts, name):
    assert route(facts) == name
    assert bool(dali.claims(facts)) == (name == "pyav")


def test_a_refusal_says_why_in_a_line():
    refused = [dali.claims(facts) for facts, _ in TABLE]
    refused += [torchcodec.unfit(*kind, 320, 240) for kind in UNFIT]
    assert all("\n" not in why and "Facts" not in why for why in refused)
    assert dali.claims(Facts("av1")) == "av1: no decoder of A100 and H100 for it"
    assert dali.claims(Facts(rotation=90)) == "turned by 90 degrees: DALI does not turn frames"
    assert dali.claims(Facts(mirrored=True)) == "mirrored: DALI does not mirror frames"
    assert torchcodec.unfit(*UNFIT[0], 320, 240).startswith("mpeg4: ")


def test_the_bits_of_torchcodec_are_claimed_where_standards_fix_them():
    assert torchcodec.unfit("h264", "yuv420p", 320, 240) == ""
    assert torchcodec.unfit("av1", "yuv420p", 320, 240) == ""
