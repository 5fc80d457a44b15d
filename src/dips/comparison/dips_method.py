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


class _Mode(ScoreMapMethod):
    """The networks of a run in one mode of prediction."""

    labels: ClassVar[Literal["none", "image"]] = "image"
    shares: ClassVar[bool] = True
    own: ClassVar[bool] = True
    networks: Networks
    _last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    @property
    def parameters(self) -> int:
        """Number of parameters of the networks that have a part in map or class."""
        frozen = self.networks.frozen
        transformer = frozen.transformer if self.networks.config.mode == "accurate" else None
        parts = [frozen.classifier, self.networks.localizer, transformer]
        return sum(p.numel() for part in parts if part is not None for p in part.parameters())

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return what the run answers in this mode."""
        return self.networks.answer(batch)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the score maps ``(B, S, S)``, whatever the labels."""
        return self._judged(images)[0]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(B, C)`` of the run's classifier."""
        return self._judged(images)[1]

    def _judged(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return both from one pass; see :meth:`~dips.models.networks.Networks.judge`."""
        if self._last is None or self._last[0] is not images:
            self._last = images, self.networks.judge(self.networks.frozen.look(images))
        return self._last[1]


class Dips(_Mode):
    """The localizer of this project, trained as ``dips train`` does."""

    name = "dips"
    title = "DiPS"
    paper = "this project, after Murtaza et al., WACV-W 2023"
    model: Model
    study: Study

    def build(self, study: Study) -> None:
        """Make nothing: the run folder holds the networks."""
        self.study = study

    def train(self, study: Study) -> Fit:
        """Train as ``dips train`` does.

        The budget bounds the epochs of a U-Net; what comes before is timed with them.
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
            problems=study.problems.part(),
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
        self.networks = self.model.networks
        self.side = self.networks.side

    def _run(self, study: Study) -> Path:
        return study.folder / self.name / _RUN


class Accurate(_Mode):
    """The same run in the mode ``accurate``: the fast map, and a second look of CNN and transformer."""

    name = "accurate"
    title = "DiPS, accurate"
    paper = "this project (docs/results.md)"
    needs: ClassVar[tuple[str, ...]] = ("dips",)

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
