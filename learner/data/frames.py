"""Frames of bytes packed into one block: `[u32 n][u32 length] * n` and the frames, little-endian.

Table and frames are padded to multiples of 8 bytes, so that arrays in them are aligned.
"""

import struct
from collections.abc import Sequence

from serl_rt.export.wire_header import Buffer

_COUNT = struct.Struct("<I")


def pack_frames(frames: Sequence[Buffer]) -> bytes:
    """Return one block that holds the frames."""
    table = _COUNT.pack(len(frames)) + b"".join(_COUNT.pack(len(frame)) for frame in frames)
    parts: list[Buffer] = [table, bytes(-len(table) % 8)]
    for frame in frames:
        parts += [frame, bytes(-len(frame) % 8)]
    return b"".join(parts)


def unpack_frames(block: Buffer) -> list[memoryview]:
    """Return the frames of a block, as views. Raises struct.error where the table is cut off."""
    (count,) = _COUNT.unpack_from(block)
    lengths = struct.unpack_from(f"<{count}I", block, _COUNT.size)
    view = memoryview(block)
    at = _COUNT.size * (1 + count)
    frames = []
    for length in lengths:
        at += -at % 8
        frames.append(view[at : at + length])
        at += length
    return frames
