"""What a U-Net is trained on: maps and scored proposals of photos, each computed independently of the others (paper 3.1, 3.2).

In: photos, and networks that were fitted to the training part. Out: a :class:`~dips.harvest.harvest.Harvest` and
:class:`~dips.harvest.scored_photos.ScoredPhotos`, kept in the store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dips.config import Config
from dips.data.depth import Depth
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.scored_photos import ScoredPhotos, score_photos
from dips.harvest.store import Store
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks, Look
from dips.models.linear_map import LinearMaps
from dips.models.networks import Networks
from dips.types import DataSet, Review

__all__ = ["MapMaker"]


@dataclass(frozen=True)
class MapMaker:
    """Computes maps and proposals.

    Attributes:
        config: the settings.
        classifier: fitted and frozen, on ``device``.
        linear: the linear maps; None unless ``harvest.refine=dataset``.
        background: label of photos without object, if there are any.
        names: what the maps depend on.
        depth: how values of more than 8 bits are converted to 8.
        load: builds CNN and transformer; called only if they must run.
    """

    config: Config
    classifier: Classifier
    linear: LinearMaps | None
    background: int | None
    names: Mapping[str, str]
    depth: Depth
    store: Store
    device: torch.device
    load: Callable[[], FrozenNetworks]

    def harvest(self, photos: DataSet) -> Harvest:
        """Compute maps and squares of photos; see :meth:`~dips.harvest.harvester.Harvester.run`."""
        config = self.config
        side = max(config.classifier.size, *config.harvest.sizes)
        refined = None if self.linear is None else self._refined
        return Harvester(
            config.harvest, config.train.resize, side, self.store, self.names, self.load, self.device, refined, self.depth
        ).run(photos)

    def score(
        self, harvest: Harvest, index: Sequence[int], labels: Sequence[int], reviews: Mapping[str, Review]
    ) -> ScoredPhotos:
        """Make proposals and score them; see :func:`~dips.harvest.scored_photos.score_photos`."""
        return score_photos(
            harvest,
            index,
            labels,
            self.classifier,
            config=self.config.harvest,
            side=self.config.classifier.size,
            store=self.store,
            background=self.background,
            reviews=reviews,
            device=self.device,
        )

    def _refined(self, look: Look) -> Tensor:
        """Return the score maps ``(B, h, w)`` in [0, 1] of the mode ``accurate``, from a single look at the photos."""
        networks = Networks.of_mode(
            "accurate",
            look.networks,
            settings=dataclasses.replace(self.config.predict, unet_share=0.0, second_look=0, flip=False),
            device=self.device,
            background=self.background,
            linear=self.linear,
            localizer=None,
        )
        return networks.judge(look)[0]
