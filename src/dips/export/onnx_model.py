"""Prediction with an exported model: one ONNX file, run by onnxruntime; no torch.

In: a file that :mod:`dips.export.onnx` wrote. It may come from anywhere: its description is checked, and it cannot refer to
other files. Out: a :class:`~dips.predict.predictor.Predictor`, so that boxes, masks, tiles and files are made as for a run
folder.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dips.config import Config, PredictConfig, require_prediction, several
from dips.errors import ConfigError, RunError
from dips.export.description import KEY, parse_description
from dips.export.wire import has_external_data, read_metadata
from dips.predict.cores import PhotoPerCore
from dips.predict.model import PredictionModel, weights_line
from dips.predict.predictor import Predictor
from dips.system.environment import usable_cores
from dips.types import Answer, Answerer, PhotoBatch

__all__ = ["BAKED", "OnnxModel", "OnnxNetworks", "load_onnx"]

INPUT, OUTPUTS, CELLS = "photos", ("score_map", "probabilities"), "class_cells"
BAKED = ("mode", "unet_share", "second_look", "size", "object_class", "flip")
"""Settings of prediction that are part of the graph."""


class OnnxNetworks(Answerer):
    """The networks inside an exported file, run by onnxruntime.

    .. code-block:: python

        from dips.benchmark.loop import evaluate_photos

        networks = OnnxNetworks(Path("model.onnx").read_bytes(), "model.onnx")
        evaluate_photos({"exported": networks}, samples)

    Attributes:
        description: what the file says about itself.
    """

    def __init__(self, data: bytes, name: str, device: str = "auto", *, threads: int | None = None) -> None:
        """Open a file.

        Args:
            data: the file.
            name: what errors call the file.
            device: ``cpu``, ``cuda`` or ``cuda:1``; ``auto`` uses a GPU if onnxruntime can use one.
            threads: number of CPU threads that share the work on a batch; None = as many as torch would use.

        Raises:
            RunError: onnxruntime is missing, the device is not available, or this is not a model that DiPS exported.
        """
        try:
            text, foreign = read_metadata(data).get(KEY), has_external_data(data)
        except ValueError as error:
            raise RunError(f"{name} is damaged, or no ONNX model ({error}); copy it again") from error
        if text is None:
            raise RunError(f"{name} is an ONNX model, but none that 'dips export' wrote")
        if foreign:
            raise RunError(f"{name} refers to other files, which no model that 'dips export' wrote does")
        self.description = parse_description(text, name)
        self._session, self._name = _session(data, name, device, threads or _threads()), name
        inputs = [(item.name, item.type, len(item.shape)) for item in self._session.get_inputs()]
        self._outputs = tuple(item.name for item in self._session.get_outputs())
        if inputs != [(INPUT, "tensor(uint8)", 4)] or self._outputs not in (OUTPUTS, (*OUTPUTS, CELLS)):
            raise RunError(
                f"{name} cannot be used: its inputs or outputs are not those that 'dips export' writes; export it again"
            )

    @property
    def side(self) -> int:
        """Side in pixels of the squares to which photos must be resized."""
        return self.description.side

    @property
    def is_on_cpu(self) -> bool:
        """Whether the model runs on the CPU."""
        return bool(self._session.get_providers()[0] == "CPUExecutionProvider")

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return score maps ``(M, S, S)``, whatever the labels, class probabilities ``(B, C)`` and, where objects have classes
        of their own, class logits ``(M, C, h, w)`` in each cell.

        Photos of any one size ``(B, H, W, 3) uint8`` are accepted, too: the file itself resizes them to squares.

        Raises:
            RunError: the file cannot be run, or its outputs have other shapes than described.
        """
        try:
            maps, probabilities, *more = self._session.run(self._outputs, {INPUT: batch.squares})
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has a separate exception for every reason
            raise RunError(f"{self._name} cannot be run here ({_first_line(error)}); try --set predict.batch=1") from error
        count, classes = len(batch), len(self.description.classes)
        is_expected = maps.ndim == 3 and len(maps) == count and 0 not in maps.shape and probabilities.shape == (count, classes)
        if not is_expected or any(item.ndim != 4 or item.shape[:2] != (count, classes) or 0 in item.shape for item in more):
            raise RunError(f"{self._name} answers in other shapes than its description says; export it again")
        maps, *more = (np.asarray(item[list(batch.positions)], np.float32) for item in (maps, *more))
        return Answer(maps, np.asarray(probabilities, np.float32), more[0] if more else None)


class OnnxModel(PredictionModel):
    """An exported model, which predicts like a run and does nothing else.

    Attributes:
        path: its file.
        classes: names in label order.
        background: label of the class without object, if there is one.
        description: what the file says about itself.
    """

    def __init__(self, path: Path, networks: OnnxNetworks, config: PredictConfig) -> None:
        self.path, self.description = path, networks.description
        self.classes, self.background = self.description.classes, self.description.background
        self._predictor = Predictor(
            PhotoPerCore(networks.side, _threads(), lambda: networks) if networks.is_on_cpu else networks,
            config=config,
            classes=self.classes,
            background=self.background,
            photo_side=self.description.photo_side,
            depth=self.description.depth,
            calibration=self.description.calibration,
        )

    @property
    def predictor(self) -> Predictor:
        """The networks, and how their maps become objects."""
        return self._predictor

    def described(self) -> tuple[Path, str, int]:
        """Return file, mode of prediction, and side of the square in which a photo is seen, in pixels."""
        return self.path, self.description.predict.mode, self.description.side

    def made_with(self) -> str:
        """Return the pretrained weights inside, in a line."""
        return weights_line(self.description.weights)


def load_onnx(path: str | Path, *, settings: Sequence[str] = (), device: str = "auto") -> OnnxModel:
    """Open an exported model.

    Args:
        settings: ``predict.name=value`` strings.
        device: see :class:`OnnxNetworks`.

    Raises:
        RunError: the file is missing or was not exported by DiPS, onnxruntime is not installed, or the device is unavailable.
        ConfigError: a setting that is unknown, or part of the graph.
    """
    file = Path(path)
    settings = several(settings)
    require_prediction(settings)
    for item in settings:
        name = item.partition("=")[0].strip()
        if name.removeprefix("predict.") in BAKED:
            raise ConfigError(f"{name} is part of {file} and can no longer be set; export the run with --set {item.strip()}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {file} ({error.strerror or error}); give a file that 'dips export' wrote") from error
    networks = OnnxNetworks(data, str(file), device, threads=1)  # photos are processed in parallel instead
    config = dataclasses.replace(Config(), predict=networks.description.predict).override(settings).predict
    if config.threshold < 0:  # --set predict.threshold=-1
        config = dataclasses.replace(config, threshold=networks.description.predict.threshold)
    return OnnxModel(file, networks, config)


def _session(data: bytes, name: str, device: str, threads: int) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise RunError(f'{name} needs onnxruntime ({error}); pip install "dips-wsol[onnx]"') from error
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well, and should be reported once
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would keep another process from its core
    providers = _providers(ort.get_available_providers(), device)
    try:
        session = ort.InferenceSession(data, options, providers=providers)
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime has a separate exception for every reason
        raise RunError(f"{name} cannot be run by this onnxruntime ({_first_line(error)}); export it again") from error
    if device.startswith("cuda") and session.get_providers()[0] != "CUDAExecutionProvider":
        raise RunError(f"the device '{device}' cannot be used by onnxruntime here; try --device cpu")
    return session


def _providers(available: Sequence[str], device: str) -> list[Any]:
    kind, _, number = device.partition(":")
    there = "CUDAExecutionProvider" in available
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        raise RunError(f"the device '{device}' is not one for an ONNX model; give cpu, cuda, cuda:1 or auto")
    if kind == "cuda" and not there:
        raise RunError(f"the device '{device}' needs onnxruntime for CUDA (pip install onnxruntime-gpu); try --device cpu")
    cuda = [("CUDAExecutionProvider", {"device_id": number or "0"})] if there and kind != "cpu" else []
    return [*cuda, "CPUExecutionProvider"]


def _threads() -> int:
    """Return as many threads as torch would use: ``OMP_NUM_THREADS``, else one per usable core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return usable_cores()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
