"""The JSON of an evaluation, and the thresholds that another evaluation reads from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dips.benchmark.fingerprints import fingerprints
from dips.benchmark.records import (
    EvaluationRecord,
    MapEvaluation,
    MethodResult,
    ModelEvaluation,
    read_validation_taus,
    shared_fields,
)
from dips.errors import DataError
from dips.evaluate import MapAccumulator
from dips.evaluate.protocol import find_protocol
from dips.system.records import to_json, write_json

TAU = {"v1": 0.5, "30": 0.2, "50": 0.4, "70": 0.6}
FRAMED = find_protocol("wsol-224")


def test_numbers_carry_their_protocol() -> None:
    accumulator = MapAccumulator(50, replicates=20)
    accumulator.add(np.kron(np.eye(4), np.ones((8, 8))), [[0, 0, 8, 8]], label=0, predicted=[0, 1], id="a")
    result = accumulator.result()
    for name in ("wsol-224", "original-pixels"):
        found = shared_fields(
            {"mine": MethodResult("a note", result), "centre": MethodResult("another", result)}, find_protocol(name)
        )
        record = json.loads(to_json(EvaluationRecord(**found)))
        assert record["protocol_name"] == name and "50 thresholds" in record["protocol"] and "oracle" in record["protocol"]
        assert (record["n_images"], record["n_boxed"], record["top1_cls"], record["pxap"]) == (1, 1, 100.0, None)
    other = record["baselines"]["centre"]
    assert other["max_box_acc_v2"] == record["max_box_acc_v2"] == result.boxes.max_box_acc_v2 and other["pxap"] is None
    assert set(other) == {
        "max_box_acc",
        "max_box_acc_v2",
        "max_box_acc_at",
        "best_tau",
        "intervals",
        "at_validation_tau",
        "pxap",
    }
    assert [(method["name"], method["own"]) for method in record["methods"]] == [("mine", True), ("centre", False)]


def test_thresholds_of_validation_suit_the_own_method_alone() -> None:
    accumulator = MapAccumulator(50)
    accumulator.add(np.kron(np.eye(4), np.ones((8, 8))), [[0, 0, 8, 8]], id="a")
    result = accumulator.result()
    methods = {"mine": MethodResult("", result, TAU), "centre": MethodResult("", result)}
    record = json.loads(to_json(EvaluationRecord(**shared_fields(methods, find_protocol("wsol-224")))))
    own, other = record["methods"]
    assert record["at_validation_tau"] == own["at_tau"] == result.boxes.at_tau(TAU).record() and other["at_tau"] is None
    assert own["dissection"]["tau_from"] == "validation" and own["dissection"]["tau"] == TAU["v1"]
    assert other["dissection"]["tau_from"] == "this split (oracle)"


def test_nothing_to_count_is_none() -> None:
    empty = MapAccumulator(replicates=5).result()
    found = shared_fields({"mine": MethodResult("", empty, TAU)}, find_protocol("wsol-224"))
    record = json.loads(to_json(EvaluationRecord(**found)))
    names = ("max_box_acc_v2", "top1_loc", "best_tau", "intervals", "pxap", "top5_cls", "at_validation_tau")
    assert all(record[name] is None for name in names)


def test_every_key_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    record = shared_fields({"mine": MethodResult("", MapAccumulator().result())}, find_protocol("wsol-224"))
    assert [key for key in record if f"`{key}`" not in page] == []


def test_the_version_is_the_first_key() -> None:
    fields = shared_fields({"mine": MethodResult("", MapAccumulator().result())}, FRAMED)
    for text in (to_json(EvaluationRecord(**fields)), to_json(EvaluationRecord(**fields), indent=2)):
        assert next(iter(json.loads(text).items())) == ("schema_version", 1)
    for kind in (ModelEvaluation, MapEvaluation):
        assert next(iter(msgspec.structs.fields(kind))).name == "schema_version"


# --- thresholds of a validation split


def evaluation(kind: str, photos: str = "", centre: dict[str, float] | None = None) -> EvaluationRecord:
    """What ``dips score``, or ``dips evaluate``, would write for one photo."""
    accumulator = MapAccumulator(50)
    accumulator.add(np.kron(np.eye(4), np.ones((8, 8))), [[0, 0, 8, 8]], id="a")
    result = accumulator.result()
    fields = shared_fields({"mine": MethodResult("", result), "centre": MethodResult("", result)}, FRAMED)
    more: dict[str, Any] = {"data": "DATA", "split": "val", "photos": photos, "environment": {}}
    if kind == "score":
        more |= {"maps": "MAPS", "n_truth": 1, "resized": False, "partial": False, "problems": []}
        return MapEvaluation(**fields, **more, validation_tau_from=None)
    more |= {
        "note": "",
        "classes": [],
        "sst": "",
        "mode": "fast",
        "second_look": 0,
        "unet_share": 0.0,
        "weights": {},
        "seed": 0,
        "skipped": [],
    }
    more |= {"files": {}, "at_run_tau": None}
    return ModelEvaluation(**fields, **more, validation_tau_from="")


@pytest.mark.parametrize("kind", ["score", "evaluate"])
def test_thresholds_of_both_commands_are_read(tmp_path: Path, kind: str) -> None:
    record = evaluation(kind, fingerprints([Path("a.jpg")]))
    write_json(tmp_path / "val.json", record)
    taus = read_validation_taus(tmp_path / "val.json", FRAMED, fingerprints([Path("b.jpg")]))
    assert record.best_tau is not None
    expected = {name: record.best_tau[name] for name in ("v1", "30", "50", "70")}
    assert taus == {"maps": expected, "centre": expected}
    with pytest.raises(DataError, match=r"val\.json was made with 1 of the photos that are scored now"):
        read_validation_taus(tmp_path / "val.json", FRAMED, fingerprints([Path("a.jpg")]))


def test_files_of_earlier_versions_have_no_version(tmp_path: Path) -> None:
    old = json.loads(to_json(evaluation("score")))
    del old["schema_version"], old["photos"], old["protocol_name"], old["baselines"]
    (tmp_path / "val.json").write_text(json.dumps(old))
    assert list(read_validation_taus(tmp_path / "val.json", FRAMED, "")) == ["maps"]


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(json.dumps({"schema_version": 2, "best_tau": TAU}))
    with pytest.raises(DataError, match=r"val\.json was written by another version of DiPS \(schema 2, this one reads 1\)"):
        read_validation_taus(tmp_path / "val.json", FRAMED, "")


def test_photos_that_are_no_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(json.dumps({"best_tau": TAU, "photos": "no base64!"}))
    with pytest.raises(DataError, match=r"val\.json is damaged \(.*\); give the JSON that 'dips score'"):
        read_validation_taus(tmp_path / "val.json", FRAMED, "")
