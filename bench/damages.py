"""Ways to damage a file, each from its bytes and a random generator to other bytes.

Bytes are cut, flipped and swapped. Where a checksum or a header would refuse that at once, the damage goes deeper: values
inside of JSON, TOML and CSV, the description inside of safetensors and ONNX files, tensors of weights, the size that a picture
claims, each with checksums and lengths that are right again.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

__all__ = ["Damage", "damages"]

DEPTH = 100_000
VALUES: list[Any] = [
    *(None, "x", "", -1, 0, 0.5, 3, 1e308, -1e308, 2**31, 2**70, True, [], {}, [None], {"x": []}, float("nan"), float("inf")),
    *("../../../etc/passwd", "/etc/passwd", "../../out", "\x1b[31m", "\ud800", "a\0b", "x" * 100_000, "=1+1"),
]

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, chance: random.Random) -> bytes:
    """Keep the first part."""
    return data[: chance.randrange(len(data) + 1)]


def flip(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, mostly near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 4, 64])):
        if changed:
            changed[min(int(chance.expovariate(8 / len(changed))), len(changed) - 1)] = chance.randrange(256)
    return bytes(changed)


def swap(data: bytes, chance: random.Random) -> bytes:
    """Exchange two parts."""
    a, b, c = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def fields(data: bytes, chance: random.Random) -> bytes:
    """Drop, retype, nest or double a value of JSON or JSON lines, wherever it is."""
    text = data.decode()
    lines = text.splitlines()
    if not all(line.endswith("}") for line in lines):  # one document
        lines = [text]
    number = chance.randrange(len(lines))
    lines[number] = _dumped(_changed(json.loads(lines[number]), chance))
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"


def settings(data: bytes, chance: random.Random) -> bytes:
    """Drop, retype or nest a value of TOML, or a name."""
    lines = data.decode().splitlines()
    number = chance.choice([number for number, line in enumerate(lines) if "=" in line or line.startswith("[")])
    key = lines[number].partition("=")[0]
    value = chance.choice([json.dumps(chance.choice(VALUES)), "[" * DEPTH, "1979-05-27", "inf", "nan", "[1, 2]", "'''"])
    lines[number] = chance.choice(["", lines[number].replace("e", "x", 1), f"{key}= {value}", f"{key}= {value}", lines[0] * 2])
    return "\n".join(lines).encode()


def _dumped(value: Any) -> str:
    return json.dumps(value).replace('"<deep>"', "[" * DEPTH + "]" * DEPTH)


def _changed(value: Any, chance: random.Random) -> Any:
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return chance.choice(VALUES)
    depth = chance.choice(sorted({level for level, _, _ in places}))  # so that few keys outside are hit as often as many inside
    _, parent, key = chance.choice([place for place in places if place[0] == depth])
    action = chance.choice(["drop", "retype", "retype", "retype", "nest", "double"])
    if action == "drop":
        del parent[key]
    elif action == "nest":
        parent[key] = "<deep>" if chance.random() < 0.5 else [[parent[key]]]
    elif action == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif action == "double" and isinstance(key, str):
        parent[f"{key}x"] = parent.pop(key)
    else:
        parent[key] = chance.choice(VALUES)
    return value


def _places(value: Any, level: int = 0) -> list[tuple[int, Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(level, value, key), *_places(value[key], level + 1)]]


def columns(data: bytes, chance: random.Random) -> bytes:
    """Shuffle the columns of a CSV; drop, double or change a cell; lose or rename the header; double a line."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    action = chance.choice(["shuffle", "drop", "double", "header", "rename", "value", "value", "column", "line", "separator"])
    row = chance.choice(rows)
    if action == "shuffle":
        order = chance.sample(range(len(rows[0])), len(rows[0]))
        rows = [[each[i] for i in order if i < len(each)] for each in rows]
    elif action == "header":
        rows = rows[1:]
    elif action == "rename":
        rows[0][chance.randrange(len(rows[0]))] = chance.choice(["", "label", "path", "x", "\x1b[31m", "split"])
    elif action == "value":
        cell = chance.choice(["", "nan", "1e400", "-1", "\0", "x" * 200_000, "../../x", "=1+1", "\x1b[31m", '"', "\n", "1,5"])
        row[chance.randrange(len(row))] = cell
    elif action == "column":
        index = chance.randrange(len(rows[0]))
        rows = [each[:index] + each[index + 1 :] for each in rows]
    elif action == "line":
        rows.append(list(row))
    elif action == "drop":
        row.pop(chance.randrange(len(row)))
    elif action == "double":
        row.append(row[0])
    out = io.StringIO()
    csv.writer(out, delimiter=";" if action == "separator" else ",").writerows(rows)
    return out.getvalue().encode()


def header(data: bytes, chance: random.Random) -> bytes:
    """Change the description in front of the tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    changed = _dumped(_changed(json.loads(data[8 : 8 + length]), chance)).encode()
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]


def numbers(data: bytes, chance: random.Random) -> bytes:
    """Change some tensors' numbers of a safetensors file: not finite, huge, zero."""
    start = 8 + int.from_bytes(data[:8], "little")
    changed = bytearray(data)
    value = struct.pack("<f", chance.choice([float("nan"), float("inf"), 3e38, 1e20, 0.0, -1.0]))
    for _ in range(chance.choice([1, 16, 1000])):
        place = start + 4 * chance.randrange((len(data) - start) // 4)
        changed[place : place + 4] = value
    return bytes(changed)


def tensors(data: bytes, chance: random.Random) -> bytes:
    """Drop, retype, reshape or nest a tensor of weights that torch saved."""
    state = dict(torch.load(io.BytesIO(data), weights_only=True))
    name = chance.choice(sorted(state))
    action = chance.choice(["drop", "retype", "reshape", "nest", "itself", "type", "key", "sparse", "meta", "wrap"])
    if action == "drop":
        del state[name]
    elif action == "retype":
        state[name] = chance.choice(VALUES)
    elif action == "reshape":
        state[name] = chance.choice([state[name].reshape(-1), state[name][None], torch.zeros(0), torch.tensor(1.0)])
    elif action == "nest":
        state = {chance.choice(["model", "state_dict", "teacher", "x"]): chance.choice([[state], {"backbone": state}, state])}
    elif action == "itself":
        state["model"] = state
    elif action == "type":
        state[name] = state[name].to(chance.choice([torch.complex64, torch.int64, torch.bool, torch.float64, torch.bfloat16]))
    elif action == "key":
        state = {chance.choice([0, None, (1, 2), 2.5]) if key == name else key: value for key, value in state.items()}
    elif action == "sparse":
        state[name] = state[name].to_sparse()
    elif action == "meta":
        state[name] = torch.zeros(1).expand(10**9)
    else:
        state = {f"module.{key}": value for key, value in state.items()}
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def graph(data: bytes, chance: random.Random) -> bytes:
    """Change the description, a node or a tensor of an ONNX file."""
    model: Any = onnx.load_from_string(data)
    action = chance.choice(
        ["description", "description", "description", "node", "input", "attribute", "dims", "type", "output", "file"]
    )
    if action == "description":
        entry = next(each for each in model.metadata_props if each.key == "dips")
        entry.value = _dumped(_changed(json.loads(entry.value), chance))
    elif action == "node":
        del model.graph.node[chance.randrange(len(model.graph.node))]
    elif action == "input":
        node = chance.choice([node for node in model.graph.node if node.input])
        node.input[0] = chance.choice(["x", "", model.graph.node[0].output[0]])
    elif action == "attribute":
        node = chance.choice([node for node in model.graph.node if node.attribute])
        node.attribute[0].i = chance.choice([-1, 0, 2**40])
    elif action == "dims":
        chance.choice(model.graph.initializer).dims.append(chance.choice([2**40, 0]))
    elif action == "type":
        chance.choice(model.graph.initializer).data_type = chance.choice([1, 7, 99])
    elif action == "output":
        model.graph.output[0].name = chance.choice(["x", model.graph.output[1].name])
    elif action == "file":
        tensor = chance.choice(model.graph.initializer)
        tensor.data_location = 1
        tensor.external_data.add(key="location", value="../../secret")
    else:
        raise AssertionError(action)
    return bytes(model.SerializeToString())


def size(data: bytes, chance: random.Random) -> bytes:
    """Let a picture claim another size."""
    width, height = (chance.choice([0, 1, 7, 300, 20_000, 65_500]) for _ in range(2))
    if data.startswith(b"\x89PNG"):
        head = b"IHDR" + struct.pack(">II", width, height * chance.choice([1, 30_000])) + data[24:29]
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    place = next(m.start() for m in re.finditer(b"\xff[\xc0\xc2]\x00", data))
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def exif(data: bytes, chance: random.Random) -> bytes:
    """Put an Exif block into a JPEG: a rotation, and some random bytes."""
    orientation = struct.pack("<HHII", 0x112, chance.choice([3, 4, 99]), chance.choice([0, 1, 2**31]), chance.randrange(12))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", chance.choice([1, 300])) + orientation + chance.randbytes(40)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


BYTES: list[Damage] = [cut, flip, swap]


def damages(path: Path) -> list[Damage]:
    """What can be done to a file of this kind; a kind of damage that is listed twice is twice as frequent."""
    deep: dict[str, list[Damage]] = {
        **dict.fromkeys([".json", ".jsonl", ".part"], [fields] * 6),
        ".toml": [settings] * 6,
        **dict.fromkeys([".csv", ".txt"], [columns] * 4),
        ".safetensors": [header, header, numbers],
        ".pth": [tensors] * 4,
        ".onnx": [graph] * 5,
        ".png": [size] * 2,
        ".jpg": [size, exif],
    }
    return [*BYTES, *deep.get(path.suffix, [])]
