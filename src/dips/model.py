"""The Python interface to a trained localizer: :class:`Model` predicts, evaluates and exports."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dips.benchmark.evaluate import evaluate_model
from dips.data import load_data
from dips.data.photo_files import gather_images
from dips.data.problems import ProblemList
from dips.data.split import spread
from dips.errors import DataError
from dips.evaluate.protocol import find_protocol
from dips.export.description import Description
from dips.report.run_report import write_run_report
from dips.runs.card import write_card
from dips.runs.records import MODEL
from dips.runs.trained import TrainedRun
from dips.system.environment import __version__
from dips.system.files import file_sha256
from dips.system.names import is_remote
from dips.system.records import write_json

if TYPE_CHECKING:
    from dips.export.onnx import ExportCheck

__all__ = ["Model"]

_MAX_COMPARED_PHOTOS = 50  # on which an export compares torch and onnxruntime
_MAX_CALIBRATION_PHOTOS = 32  # for an 8-bit export


class Model(TrainedRun):
    """A trained localizer, returned by :func:`dips.fit` and :func:`dips.load`.

    It predicts (:meth:`~dips.predict.model.PredictionModel.predict`), evaluates and exports; its attributes are those of
    :class:`~dips.runs.trained.TrainedRun`.

    .. code-block:: python

        model = dips.load("run")
        for prediction in model.predict("photos"):
            print(prediction.path, prediction.label, prediction.boxes)
        print(model.evaluate("photos", split="test")["max_box_acc_v2"])
        model.export("tower.onnx")
    """

    def evaluate(
        self,
        data: str | Path,
        *,
        split: str | None = "test",
        photos: int = 300,
        json_path: str | Path | None = None,
        protocol: str = "wsol-224",
        note: str = "",
        problems: str | Path | None = None,
    ) -> dict[str, Any]:
        """Evaluate the localizer against ground-truth boxes and masks, next to baselines that need no training.

        The baselines are the mean attention map and the centred Gaussian; the run's other modes of prediction are evaluated as
        well. The run folder's ``evaluation.json``, ``evaluation.csv`` (a line per photo), ``evaluation-photos.json`` (photos
        that the report shows), report and model card are rewritten.

        Args:
            data: folder or file, see ``docs/data.md``.
            split: the part of DATA to evaluate on; None or ``all`` takes all of DATA.
            photos: number of photos in the report: the worst, the best and an even sample of the others.
            json_path: an additional file for the result.
            protocol: ``wsol-224``, the field's standard, or ``original-pixels``.
            note: a sentence about the photos, shown at the top of the report.
            problems: a file for all problems of the data, of which only the first few are printed.

        Returns:
            The contents of ``evaluation.json``, see ``docs/metrics.md``; accuracies in percent, None if nothing can be counted.

        Raises:
            DataError: there is no photo, no such split, or the data has no class in common with the model. Photos without
                ground-truth boxes count for the classification alone.
            WeightsError: the transformer's weights, which predictions need with ``predict.mode=accurate``, are not found.
            ConfigError: there is no such protocol.
        """
        result = evaluate_model(
            self,
            data,
            split=split,
            photos=photos,
            protocol=find_protocol(protocol),
            note=note,
            problems=ProblemList(problems),
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
        """Export the model to one ONNX file, which :func:`dips.load` and ``dips predict`` open without torch.

        The file is written only if onnxruntime, which runs it, produces the same outputs as torch.

        Args:
            path: the file; its name must end in ``.onnx``, and it must not exist.
            photos: photos to compare torch and onnxruntime on, up to 50; default: the training photos, if they still exist.
            tolerance: the largest difference of a score or a probability that is accepted.
            int8: training photos; if given, the accepted model is written in 8 bits, calibrated on up to 32 of them.

        Returns:
            How far the outputs of the written file are from torch's.

        Raises:
            RunError: the file cannot be written, it would predict differently from the model, or a package is missing.
            DataError: there are no photos to compare on.
            WeightsError: the transformer's weights, part of the file with ``predict.mode=accurate``, are not found.
        """
        from dips.export.onnx import export_onnx, require_new  # onnxscript is in a separate extra

        require_new(Path(path))
        if self.device.type != "cpu":
            on_cpu = Model(self.run, self.config, torch.device("cpu"), self.given)
            return on_cpu.export(path, photos=photos, tolerance=tolerance, int8=int8)
        sample = self._training_photos() if photos is None else gather_images(photos)
        calibration = () if int8 is None else spread(gather_images(int8), _MAX_CALIBRATION_PHOTOS)
        fitted = {item.resolve() for item in calibration}  # comparing on these would flatter the file
        sample = spread([item for item in sample if item.resolve() not in fitted] or sample, _MAX_COMPARED_PHOTOS)
        return export_onnx(
            self.networks, Path(path), about=self._description(), photos=sample, tolerance=tolerance, calibration=calibration
        )

    def _training_photos(self) -> list[Path]:
        if is_remote(Path(self.record.data), self.run):
            raise DataError(f"the training photos are on another computer ({self.record.data}); give some (--photos)")
        try:
            return [sample.path for sample in load_data(self.record.data, label_column=self.config.data.label_column).samples]
        except DataError as error:
            raise DataError(f"the training photos are no longer here ({error}); give some to compare on (--photos)") from error

    def _description(self) -> Description:
        return Description(
            classes=self.classes,
            background=self.background,
            settings={
                **dataclasses.asdict(self.predictor.config),
                "object_class": "object" if self.networks.object_classes else "photo",
            },
            side=self.networks.side,
            photo_side=self.meta.photo_side,
            depth=self.meta.depth,
            calibration=self.predictor.calibration,
            weights=self.weights_inside(),
            model=file_sha256(self.run / MODEL),
            dips=__version__,
        )
