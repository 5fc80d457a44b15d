"""DiPS as one method among others, and its linear map alone.

In: a study. Out: a run folder like any other, made by :func:`dips.fitting.fit.fit`, which ``dips predict`` and
``dips evaluate`` take, and its score maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dips.baselines.fcam import epochs_within
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.config import load_config, to_toml
from dips.errors import ConfigError
from dips.fitting.fit import fit
from dips.model import Model
from dips.system.files import atomic_file

__all__ = ["Dips", "Linear"]

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
            epochs = epochs_within(study, len(study.train))
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
        """Number of parameters of U-Net and classifier, and of the transformer where it has a part in the map."""
        networks = self.model.networks
        parts = [networks.localizer, networks.classifier, networks.transformer]
        return sum(p.numel() for part in parts if part is not None for p in part.parameters())

    def linear_maps(self, images: Tensor) -> Tensor:
        """Return maps ``(B, h, w)`` in [0, 1] of the linear classifier on the transformer's keys, of images ``(B, 3, S, S)``.

        Raises:
            ConfigError: this run has none.
        """
        key_map = self.model.key_map
        if key_map is None:
            raise ConfigError("the linear map needs harvest.refine=dataset; leave 'linear' out")
        return key_map.from_features([self.study.transformer(images, size) for size in key_map.sizes])

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the run's score maps ``(B, S, S)``, whatever the labels; see
        :meth:`~dips.models.networks.Networks.score_maps`."""
        networks = self.model.networks
        return networks.score_maps(images, self.linear_maps(images) if networks.config.sst_share > 0 else None)

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(B, C)`` of the run's classifier."""
        return self.model.networks.probabilities(images)


class Linear(ScoreMapMethod):
    """DiPS without its U-Net: the linear map that the harvest fitted."""

    name = "linear"
    title = "DiPS, linear map alone"
    paper = "this project (docs/results.md)"
    labels: ClassVar[Literal["none", "image"]] = "image"
    needs: ClassVar[tuple[str, ...]] = ("dips",)
    shares: ClassVar[bool] = True
    own: ClassVar[bool] = True
    dips: Dips

    def build(self, study: Study) -> None:
        """Take the fitted run."""
        dips = study.fitted("dips")
        assert isinstance(dips, Dips)
        self.dips, self.side = dips, dips.side

    @property
    def parameters(self) -> int:
        """Number of parameters of the transformer."""
        return sum(p.numel() for p in self.dips.study.transformer.network.parameters())

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the linear maps ``(B, h, w)``, whatever the labels; see :meth:`Dips.linear_maps`."""
        return torch.as_tensor(self.dips.linear_maps(images))
