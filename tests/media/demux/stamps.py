"""Videos whose time stamps are missing, wrong, hidden or begin anew."""

import struct
from pathlib import Path

from tests.processes import ROOT

CASES = ROOT / "tests" / "cases" / "files"


def case_numbers(frames):
    """Which frames of a case these are: uint8 ``[T, H, W, 3]``, frame i's square is 20 + 3 i."""
    return [round((value - 20) / 3) for value in frames[:, 8, 8, 0].tolist()]


def copy_packets(old, new, change=lambda number, packet: True):
    """The packets of a video in another file, but for those of which ``change`` says False."""
    import av

    with av.open(str(old)) as source, av.open(str(new), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            if change(number, packet):
                packet.stream = stream
                container.mux(packet)
    return Path(new)


def as_decoded(number, packet):
    """Have display time be decoding time, as programs do that copy from AVI."""
    packet.pts = packet.dts
    return True


def joined(path, *files):
    """Recordings one behind the other."""
    Path(path).write_bytes(b"".join(Path(file).read_bytes() for file in files))
    return Path(path)


def show_parts(path, parts):
    """Have an MP4, which has one edit, show parts of it: seconds, and where in its media.

    Media time -1 is an empty edit: nothing is shown. The sample table must be behind the frames.
    """
    data = bytearray(path.read_bytes())
    place = data.index(b"edts") - 4
    (old,) = struct.unpack_from(">I", data, place)
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    edits = b"".join(
        struct.pack(">iihh", round(seconds * scale), media, 1, 0) for seconds, media in parts
    )
    table = b"elst" + struct.pack(">II", 0, len(parts)) + edits
    box = b"edts" + struct.pack(">I", len(table) + 4) + table
    box = struct.pack(">I", len(box) + 4) + box
    for outer in (b"moov", b"trak"):
        start = data.index(outer) - 4
        (size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, size + len(box) - old)
    data[place : place + old] = box
    path.write_bytes(data)


def empty_samples(path, numbers):
    """Have samples of an MP4 hold nothing; their bytes go, as the table has no holes."""
    import av

    with av.open(str(path)) as container:
        places = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
    data = bytearray(path.read_bytes())
    table = data.index(b"stsz") + 16
    kept = [range(len(places))[number] for number in numbers]
    for number in kept:
        struct.pack_into(">I", data, table + 4 * number, 0)
    chunks = data.index(b"stco")
    assert struct.unpack_from(">I", data, chunks + 8)[0] == 1
    struct.pack_into(">I", data, chunks + 12, len(data) + 8)
    frames = b"".join(
        data[place : place + size]
        for number, (place, size) in enumerate(places)
        if number not in kept
    )
    path.write_bytes(data + struct.pack(">I", len(frames) + 8) + b"mdat" + frames)
