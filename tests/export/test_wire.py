"""Reading an ONNX file's wire format: as the package onnx reads it, and no harm from any bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.export.wire import has_external_data, read_metadata

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")


def tensor(external: bool = True) -> Any:
    made = onnx.numpy_helper.from_array(np.arange(6, dtype=np.float32), "w")
    if external:
        made.ClearField("raw_data")
        made.data_location = onnx.TensorProto.EXTERNAL
        entry = made.external_data.add()
        entry.key, entry.value = "location", "w.bin"
    return made


def graph(*nodes: Any, tensors: tuple[Any, ...] = ()) -> Any:
    return onnx.helper.make_graph(list(nodes), "g", [], [], list(tensors))


def node(**attributes: Any) -> Any:
    return onnx.helper.make_node("Op", ["x"], ["y"], **attributes)


def sparse(found: Any) -> Any:
    plain = tensor(False)
    return onnx.SparseTensorProto(values=found, indices=plain, dims=[6])


def in_function(found: Any) -> Any:
    function = onnx.helper.make_function("d", "f", ["x"], ["y"], [node(value=found)], [onnx.helper.make_opsetid("", 18)])
    return onnx.helper.make_model(graph(node()), functions=[function])


def in_sparse_initializer(found: Any) -> Any:
    inner = graph(node())
    inner.sparse_initializer.append(sparse(found))
    return onnx.helper.make_model(inner)


PLACES: dict[str, Callable[[Any], Any]] = {
    "initializer": lambda found: onnx.helper.make_model(graph(node(), tensors=(tensor(False), found))),
    "attribute": lambda found: onnx.helper.make_model(graph(node(a=1, value=found))),
    "list": lambda found: onnx.helper.make_model(graph(node(values=[tensor(False), found]))),
    "branch": lambda found: onnx.helper.make_model(graph(node(then=graph(node(deep=graph(tensors=(found,))))))),
    "branches": lambda found: onnx.helper.make_model(graph(node(cases=[graph(), graph(node(value=found))]))),
    "function": in_function,
    "sparse initializer": in_sparse_initializer,
    "sparse attribute": lambda found: onnx.helper.make_model(graph(node(value=sparse(found)))),
}


@pytest.mark.parametrize("place", PLACES)
def test_other_files_are_found_wherever_a_tensor_may_be(place: str) -> None:
    assert has_external_data(PLACES[place](tensor()).SerializeToString())
    assert not has_external_data(PLACES[place](tensor(False)).SerializeToString())


def test_either_sign_of_another_file_is_enough() -> None:
    made = tensor()
    made.ClearField("external_data")
    assert has_external_data(onnx.helper.make_model(graph(tensors=(made,))).SerializeToString())
    made = tensor()
    made.ClearField("data_location")
    assert has_external_data(onnx.helper.make_model(graph(tensors=(made,))).SerializeToString())


def test_a_deep_nest_is_walked() -> None:
    message = field(5, tensor().SerializeToString())  # of a graph
    for _ in range(3000):
        message = field(1, field(5, field(6, message)))  # a node with an attribute that is a graph
    assert has_external_data(field(7, message))


def field(number: int, message: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(message)) + message


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=4))
def test_metadata_is_what_onnx_wrote(pairs: dict[str, str]) -> None:
    model = onnx.helper.make_model(graph(node(value=tensor(False))))
    onnx.helper.set_model_props(model, pairs)
    assert read_metadata(model.SerializeToString()) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_metadata, has_external_data):
        try:
            read(data)
        except ValueError as error:
            assert str(error)


def test_a_file_that_is_cut_is_refused() -> None:
    data = onnx.helper.make_model(graph(node(), tensors=(tensor(False),))).SerializeToString()
    for end in (1, 5, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError, match=r"cut short|not an ONNX file"):
            has_external_data(data[:end])
