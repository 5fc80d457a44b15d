"""DiPS as one method among others, as its runs predict by default and in the accurate mode.

In: a study. Out: a run folder like any other, made by :func:`dips.fitting.fit.fit`, which ``dips predict`` and
``dips evaluate`` take, and its score maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from dips.baselines.fcam import epochs_within
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.config import load_config, to_toml
from dips.errors import ConfigError
from dips.fitting.fit import fit
from dips.model import Model
from dips.models.networks import Networks
from dips.system.files import atomic_file
from dips.types import Answer, PhotoBatch

__all__ = ["Accurate", "Dips"]

_RUN = "run"


class Dips(ScoreMapMethod):
    """The localizer of this project, trained as ``dips train`` does."""

    name = "dips"
    title = "DiPS"
    paper = "this project, after Murtaza et al., WACV-W 2023"
    labels: ClassVar[Literal["none", "image"]] = "image"
    shares: ClassVar[bool] = True
    own: ClassVar[bool] = True
    model: Model
    study: Study

    def build(self, study: Study) -> None:
        """Make nothing: the run folder holds the networks."""
        self.study = study

    def train(self, study: Study) -> Fit:
        """Train as ``dips train`` does: harvest, classifier, localizer.

        The budget bounds the localizer's epochs; what comes before is timed with them.
        """
        folder, run = study.folder / self.name, self._run(study)
        if (run / "config.toml").is_file():  # a training that was killed goes on with its settings
            recipe = run / "config.toml"
            epochs = load_config(recipe).train.epochs
        else:
            epochs = study.config.train.epochs and epochs_within(study, len(study.train))
            recipe = folder / "recipe.toml"
            with atomic_file(recipe) as file:
                file.write(to_toml(study.config.replace(**{"train.epochs": epochs})))
        trained = fit(
            study.data,
            out=run,
            recipe=recipe,
            weights=study.given,
            store=study.store,
            device=str(study.device),
            resume=run.exists(),
        )
        self._open(study)
        steps = epochs * -(-len(study.train) // study.config.train.batch)
        spent = trained.record.seconds  # also before this call, where maps or localizer were stored already
        seconds = spent.harvest + spent.training
        return Fit(steps=steps, epochs=epochs, seconds=seconds, bounded=spent.training, chosen=trained.record.selection)

    def restore(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Open the run folder that an earlier fit left."""
        self.build(study)
        self._open(study)

    def _open(self, study: Study) -> None:
        # no other method looks at the mirror image, too
        self.model = Model.open(
            self._run(study), device=str(study.device), settings=["predict.flip=false"], weights=study.given
        )
        self.side = self.model.networks.side

    def _run(self, study: Study) -> Path:
        return study.folder / self.name / _RUN

    @property
    def parameters(self) -> int:
        """Number of parameters of the networks that have a part in map or class."""
        return _parameters(self.model.networks)

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return what the run answers, from one pass of its networks."""
        return self.model.networks.answer(batch)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the run's score maps ``(B, S, S)``, whatever the labels; see :meth:`~dips.models.networks.Networks.judge`."""
        return self.model.networks.judge(self.model.networks.frozen.look(images))[0]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(B, C)`` of the run's classifier."""
        return self.model.networks.judge(self.model.networks.frozen.look(images))[1]


class Accurate(ScoreMapMethod):
    """The same run in the mode ``accurate``: the linear map on CNN and transformer."""

    name = "accurate"
    title = "DiPS, accurate"
    paper = "this project (docs/results.md)"
    labels: ClassVar[Literal["none", "image"]] = "image"
    needs: ClassVar[tuple[str, ...]] = ("dips",)
    shares: ClassVar[bool] = True
    own: ClassVar[bool] = True
    networks: Networks

    def build(self, study: Study) -> None:
        """Take the fitted run.

        Raises:
            ConfigError: it has no linear maps.
        """
        dips = study.fitted("dips")
        assert isinstance(dips, Dips)
        if "accurate" not in dips.model.modes:
            raise ConfigError("the accurate map needs harvest.refine=dataset; leave 'accurate' out")
        self.networks = dips.model.networks_of("accurate", dips.model.frozen)
        self.side = self.networks.side

    @property
    def parameters(self) -> int:
        """Number of parameters of CNN and transformer."""
        return _parameters(self.networks)

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return what the run answers in this mode."""
        return self.networks.answer(batch)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the score maps ``(B, S, S)``, whatever the labels."""
        return self.networks.judge(self.networks.frozen.look(images))[0]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(B, C)`` of the run's classifier."""
        return self.networks.judge(self.networks.frozen.look(images))[1]


def _parameters(networks: Networks) -> int:
    frozen = networks.frozen
    parts = [frozen.classifier, networks.localizer, frozen.transformer if networks.config.mode == "accurate" else None]
    return sum(p.numel() for part in parts if part is not None for p in part.parameters())
