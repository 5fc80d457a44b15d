"""A trained localizer as users have it in Python: :class:`Model` predicts, evaluates and exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dips.benchmark.evaluate import evaluate_model
from dips.data import load_data
from dips.data.images import gather_images
from dips.errors import DataError
from dips.evaluate.protocol import find_protocol
from dips.export.description import Description
from dips.harvest.store import Store
from dips.report.run_report import write_run_report
from dips.runs.card import write_card
from dips.runs.records import MODEL
from dips.runs.trained import TrainedRun
from dips.system.environment import __version__, store_folder
from dips.system.files import file_sha256
from dips.system.records import write_json

if TYPE_CHECKING:
    from dips.export.onnx import ExportCheck

__all__ = ["Model"]

_COMPARED = 50  # photos at most, on which an export is compared
_CALIBRATED = 32  # photos at most, by which an export in 8 bits is calibrated


class Model(TrainedRun):
    """A trained localizer: predicts, evaluates, exports; the attributes are those of :class:`~dips.runs.trained.TrainedRun`."""

    def evaluate(
        self,
        data: str | Path,
        *,
        split: str | None = "test",
        store: str | Path | None = None,
        photos: int = 300,
        json_path: str | Path | None = None,
        protocol: str = "wsol-224",
        note: str = "",
    ) -> dict[str, Any]:
        """Every metric of the protocol on a split, beside the mean attention map, the linear map and the centred Gaussian.

        Writes ``evaluation.json``, ``evaluation.csv`` (a line per photo), ``evaluation-photos.json`` (those that the report
        shows) and the report into the run folder anew.

        Args:
            split: folder of DATA; None or ``all`` takes all of DATA.
            store: of the harvest; default: the user's cache.
            photos: how many are shown in the report: the worst, the best and an even sample of the others.
            json_path: where the result is also written.
            protocol: ``wsol-224``, the field's, or ``original-pixels``.
            note: a sentence about the photos that stands at the top of the report.

        Raises:
            DataError: there is no photo, no such split, or none of its classes is the model's. Photos without true boxes count
                for the classification alone.
            WeightsError: the transformer, which the baselines and the linear map need, is not here.
            ConfigError: there is no such protocol.
        """
        result = evaluate_model(
            self,
            data,
            split=split,
            store=Store(store_folder(store)),
            photos=photos,
            protocol=find_protocol(protocol),
            note=note,
        )
        for path in [self.run / "evaluation.json", *([Path(json_path)] if json_path is not None else [])]:
            write_json(path, result)
        write_card(self.run / "README.md", self.record, result)
        write_run_report(self.run)
        return result

    def export(
        self,
        path: str | Path,
        *,
        photos: str | Path | None = None,
        tolerance: float = 1e-3,
        int8: str | Path | None = None,
    ) -> ExportCheck:
        """Write the model as one ONNX file, which :func:`dips.load` and ``dips predict`` take without torch.

        Args:
            path: the file; its name ends in ``.onnx``, and it must not exist.
            photos: what torch and onnxruntime are compared on, up to 50; default: training photos, where they still are.
            tolerance: the largest difference of a score or a probability that is accepted.
            int8: training photos; the file that was accepted is then written in 8 bits, calibrated on up to 32 of them.

        Raises:
            RunError: the file cannot be written or would say something else than the model, or a package is missing.
            DataError: there are no photos to compare on.
            WeightsError: the transformer, which is part of the file unless ``predict.sst_share`` is 0, is not here.
        """
        from dips.export.onnx import export_onnx, require_new  # onnxscript is in an extra of its own

        require_new(Path(path))
        if self.device.type != "cpu":
            there = Model(self.run, self.config, torch.device("cpu"), self.given)
            return there.export(path, photos=photos, tolerance=tolerance, int8=int8)
        sample = self._training_photos() if photos is None else gather_images(photos)
        known = () if int8 is None else _spread(gather_images(int8), _CALIBRATED)
        others = {item.resolve() for item in known}  # what a model was fitted on would flatter it
        sample = _spread([item for item in sample if item.resolve() not in others] or sample, _COMPARED)
        return export_onnx(
            self.networks, Path(path), about=self._about(), photos=sample, tolerance=tolerance, calibration=known
        )

    def _training_photos(self) -> list[Path]:
        try:
            return [sample.path for sample in load_data(self.record.data).samples]
        except DataError as error:
            raise DataError(
                f"the training photos are not here any more ({error}); give some to compare on (--photos)"
            ) from error

    def _about(self) -> Description:
        config = dataclasses.replace(self.predictor.config, sst_share=self.config.sst_share)
        return Description(
            classes=self.classes,
            background=self.background,
            settings=dataclasses.asdict(config),
            side=self.networks.side,
            photo_side=self.meta.photo_side,
            weights=self.weights_inside(),
            model=file_sha256(self.run / MODEL),
            dips=__version__,
        )


def _spread(photos: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly."""
    count = min(len(photos), most)
    return [photos[i * len(photos) // count] for i in range(count)]
