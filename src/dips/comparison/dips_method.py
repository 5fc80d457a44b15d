"""DiPS as one of the compared methods: with default predictions, in accurate mode, and with parts left out.

In: a study. Out: an ordinary run folder created by :func:`dips.fitting.fit.fit`, usable by ``dips predict`` and
``dips evaluate``, and its score maps.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from dips.baselines.fcam import epochs_within
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.config import Config, load_config, to_toml
from dips.errors import ConfigError
from dips.fitting.fit import fit
from dips.fitting.photos import read_photos
from dips.fitting.prepare import prepare
from dips.harvest.store import Store
from dips.model import Model
from dips.models.frozen import FrozenNetworks
from dips.models.networks import Networks
from dips.runs.records import CONFIG, MODEL
from dips.system.files import atomic_file
from dips.types import Answer, PhotoBatch

__all__ = ["Accurate", "Dips", "Joined", "JoinedCnn", "JoinedKeys"]

_RUN, _STORE = "run", "store"


class _Mode(ScoreMapMethod):
    """The networks of a run in one prediction mode."""

    labels: ClassVar[Literal["none", "image"]] = "image"
    shares: ClassVar[bool] = True
    own: ClassVar[bool] = True
    networks: Networks
    _last: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The networks that contribute to the map or the class."""
        frozen = self.networks.frozen
        transformer = frozen.transformer if self.networks.config.mode == "accurate" else None
        parts = (frozen.classifier, self.networks.localizer, transformer)
        return [part for part in parts if part is not None]

    @property
    def parameters(self) -> int:
        """Number of parameters of these networks: others of the same run do not count."""
        return sum(p.numel() for network in self.used_networks for p in network.parameters())

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return the run's answer in this mode."""
        return self.networks.answer(batch)

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the score maps ``(B, S, S)``, regardless of the labels."""
        return self._judged(images)[0]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the class probabilities ``(B, C)`` of the run's classifier."""
        return self._judged(images)[1]

    def _judged(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps and probabilities from one pass; see :meth:`~dips.models.networks.Networks.judge`."""
        if self._last is None or self._last[0] is not images:
            self._last = images, self.networks.judge(self.networks.frozen.look(images))
        return self._last[1]


class Dips(_Mode):
    """The localizer of this project, trained as by ``dips train``.

    Its harvest goes into a store of its own, which is removed afterwards: reusing what another training left in a shared store
    would hide the harvest's cost.

    Attributes:
        changes: settings that differ from the study's.
    """

    name = "dips"
    title = "DiPS"
    paper = "this project, after Murtaza et al., WACV-W 2023"
    changes: ClassVar[Mapping[str, Any]] = {}
    model: Model
    study: Study

    def build(self, study: Study) -> None:
        """Build nothing: the run folder holds the networks."""
        self.study = study

    def train(self, study: Study) -> Fit:
        """Train as ``dips train`` does.

        Harvest, classifier and linear maps take as long as they need. The U-Net is trained for as many epochs as the rest of
        the budget and the settings allow.
        """
        folder, run = study.folder / self.name, self._run(study)
        config, harvest = study.config.replace(**self.changes), 0.0
        if not ((run / MODEL).is_file() or self._timed(study).is_file()):
            shutil.rmtree(folder / _STORE, ignore_errors=True)  # left by a killed fit: the time it took is unknown
        if config.train.epochs:
            harvest = self._harvest(study, config)
        if (run / CONFIG).is_file():  # a killed training resumes with its settings
            recipe = run / CONFIG
            config = load_config(recipe)
        else:
            if config.train.epochs and study.limits is None:
                epochs = epochs_within(study, len(study.train), study.seconds - harvest, config.train.epochs)
                config = config.replace(**{"train.epochs": epochs})
            recipe = folder / "recipe.toml"
            with atomic_file(recipe) as file:
                file.write(to_toml(config))
        trained = fit(
            study.data,
            out=run,
            recipe=recipe,
            weights=study.given,
            store=folder / _STORE,
            device=str(study.device),
            resume=run.exists(),
            problems=study.problems.part(),
        )
        shutil.rmtree(folder / _STORE, ignore_errors=True)
        self._open(study)
        epochs, spent = config.train.epochs, trained.record.seconds
        fixed = max(harvest, spent.harvest)
        return Fit(
            steps=epochs * -(-len(study.train) // config.train.batch),
            epochs=epochs,
            seconds=fixed + spent.training,  # including the time before this call if a training was killed
            fixed=fixed,
            chosen=trained.record.selection,
        )

    def _harvest(self, study: Study, config: Config) -> float:
        """Run what precedes the first epoch of a U-Net, and return the seconds that this took, now or in an earlier call."""
        timed = self._timed(study)
        if not timed.is_file():
            started = time.perf_counter()
            photos = read_photos(study.data, config)
            prepare(
                photos.train,
                photos.val,
                blank=photos.blank,
                config=config,
                store=Store(study.folder / self.name / _STORE),
                device=study.device,
                given=study.given,
            )
            with atomic_file(timed) as file:
                file.write(f"{time.perf_counter() - started:.3f}")
        return float(timed.read_text(encoding="utf-8"))

    def _timed(self, study: Study) -> Path:
        return study.folder / self.name / "harvest-seconds.txt"

    def load(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Open the run folder of an earlier fit."""
        self._open(study)

    def _open(self, study: Study) -> None:
        # no flipping, as no other method averages over the mirrored photo
        self.model = Model.open(
            self._run(study), device=str(study.device), settings=["predict.flip=false"], weights=study.given
        )
        self.networks = self._of(self.model)
        self.side = self.networks.side

    def _of(self, model: Model) -> Networks:
        """Return the networks that make the maps."""
        return model.networks

    def _run(self, study: Study) -> Path:
        return study.folder / self.name / _RUN


class _OnDips(_Mode):
    """Other maps of the run fitted by :class:`Dips`."""

    needs: ClassVar[tuple[str, ...]] = ("dips",)

    def build(self, study: Study) -> None:
        """Use the fitted run.

        Raises:
            ConfigError: the run has no linear maps.
        """
        dips = study.fitted("dips")
        assert isinstance(dips, Dips)
        if "accurate" not in dips.model.modes:
            raise ConfigError(f"{self.title} needs harvest.refine=dataset; leave '{self.name}' out")
        self.networks = self._of(dips.model)
        self.side = self.networks.side

    def _of(self, model: Model) -> Networks:
        """Return the networks that make the maps."""
        return model.networks_of("accurate", model.frozen)


class Accurate(_OnDips):
    """The same run in ``accurate`` mode: the fast map, and a second look by CNN and transformer."""

    name = "accurate"
    title = "DiPS, accurate"
    paper = "this project (docs/results.md)"


class Joined(_OnDips):
    """The joined map of the same run: CNN and transformer look once, at the whole photo."""

    name = "joined"
    title = "DiPS, joined map"
    paper = "this project (docs/results.md)"

    def _of(self, model: Model) -> Networks:
        settings = replace(model.config.predict, second_look=0, unet_share=0.0)
        return model.stored.networks("accurate", model.frozen, settings, model.device)


_ONE_LOOK = {
    "harvest.refine": "dataset",
    "train.epochs": 0,
    "predict.mode": "accurate",
    "predict.second_look": 0,
    "predict.unet_share": 0.0,
}


class JoinedKeys(Dips):
    """The joined map without the CNN: a run whose linear map sees only the transformer's keys."""

    name = "joined-keys"
    title = "DiPS, joined map without CNN"
    paper = "this project (docs/results.md)"
    changes: ClassVar[Mapping[str, Any]] = {**_ONE_LOOK, "harvest.refine_inputs": "keys"}


class JoinedCnn(Dips):
    """The joined map without the keys: a run whose linear map is fitted only on the CNN's stages.

    The fast map of an ordinary run has the same inputs, but imitates the joined map.
    """

    name = "joined-cnn"
    title = "DiPS, joined map without keys"
    paper = "this project (docs/results.md)"
    changes: ClassVar[Mapping[str, Any]] = {**_ONE_LOOK, "harvest.refine_inputs": "cnn"}

    def _of(self, model: Model) -> Networks:
        assert model.stored.linear is not None
        frozen = FrozenNetworks(model.stored.classifier, side=model.config.classifier.size)  # keys carry no weight here
        settings = replace(model.config.predict, mode="fast")
        networks = model.stored.networks("fast", frozen, settings, model.device)
        networks.linear = model.stored.linear.accurate.first(model.stored.linear.stages).to(model.device)
        return networks
