"""A decoder back end that ivn has not heard of: all that one takes, in one file.

It decodes whole batches, into negatives of PyAV's frames, and claims VP8 alone.
"""

from ivn.errors import DecodeError
from ivn.media.decode import pyav
from ivn.media.decode.request import BatchBackend

SIZES = []


def decode(source, choose):
    return 255 - pyav.decode(source, choose)


def claims(facts):
    return "" if facts.codec == "vp8" else f"{facts.codec}: only VP8"


class Decoder:
    """A decoder that notes in ``SIZES`` how many requests come at a time."""

    def __init__(self, *, device, batch_size, threads):
        self.device, self.batch_size = device, batch_size

    def decode(self, requests):
        SIZES.append(len(requests))
        return [self.one(request) for request in requests]

    def one(self, request):
        try:
            return decode(*request).to(self.device)
        except DecodeError as error:
            return error

    def close(self):
        pass


BACKEND = BatchBackend(
    name="made_up",
    library="Made Up",
    module="tests.media.decode.made_up",
    package="made-up",
    fix="pip install made-up",
    decode=decode,
    claims=claims,
    open=Decoder,
)
