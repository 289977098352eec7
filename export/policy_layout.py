"""How a policy's ONNX file is laid out when a part of its weights never changes.

An ONNX file is a protobuf message, whose fields may come in any order. The graph comes first, and
in it the frozen weights, so that all policies of one frozen trunk begin with the same bytes: what
follows them is all that has to be sent again. It is an ordinary ONNX file all the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import onnx


class LaidOut(NamedTuple):
    """A whole ONNX file."""

    model: bytes
    trunk_size: int
    """Bytes at its beginning that depend on nothing but the frozen weights and the layout."""


def lay_out(model: onnx.ModelProto, trunk: Sequence[onnx.TensorProto]) -> LaidOut:
    """Serialise a model whose graph lacks the `trunk` weights, with these in front."""
    first = onnx.GraphProto(initializer=trunk).SerializeToString()
    graph = model.graph.SerializeToString()
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    begin = _graph_tag() + _varint(len(first) + len(graph)) + first
    return LaidOut(begin + graph + rest.SerializeToString(), len(begin))


def _graph_tag() -> bytes:
    length_delimited = 2
    number = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
    return _varint(number << 3 | length_delimited)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the high bit set while more follow."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
