"""Photos side by side on the cores of a CPU: what is said of each depends on nothing but the photo."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dips.config import PredictConfig
from dips.errors import RunError
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap
from dips.models.networks import Networks
from dips.predict.cores import PhotoPerCore
from dips.types import Answer, Answerer, PhotoBatch


class Named(Answerer):
    """Answers with a photo's first value, and keeps who asked."""

    side = 4

    def __init__(self, cells: bool = False) -> None:
        self.threads: set[int] = set()
        self.sizes: list[int] = []
        self.cells = np.zeros((1, 2, 1, 1), np.float32) if cells else None

    def answer(self, batch: PhotoBatch) -> Answer:
        self.threads.add(threading.get_ident())
        self.sizes.append(len(batch))
        if batch.squares[0, 0, 0, 0] == 13:
            raise RunError("damaged")
        first = batch.squares[:, 0, 0, :1].astype(np.float32)
        return Answer(np.divide(batch.squares[..., 0], 255, dtype=np.float32), first, self.cells)


def squares(*values: int) -> PhotoBatch:
    return PhotoBatch(np.stack([np.full((4, 4, 3), value, np.uint8) for value in values]))


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_answers_come_in_the_order_of_the_photos_each_asked_alone(cores: int) -> None:
    made: list[Named] = []

    def begin() -> Named:
        made.append(Named())
        return made[-1]

    answer = PhotoPerCore(4, cores, begin).answer(squares(*range(7)))
    assert answer.probabilities[:, 0].tolist() == list(range(7)) and answer.maps.shape == (7, 4, 4) and answer.cells is None
    assert sum(len(each.sizes) for each in made) == 7 and all(set(each.sizes) <= {1} for each in made)
    assert 1 <= len(made) <= cores and all(len(each.threads) <= 1 for each in made)


def test_cells_are_joined_where_there_are_any() -> None:
    cells = PhotoPerCore(4, 2, lambda: Named(cells=True)).answer(squares(1, 2, 3)).cells
    assert cells is not None and cells.shape == (3, 2, 1, 1)


def test_an_error_of_one_photo_is_that_of_the_batch_and_the_next_batch_is_answered() -> None:
    per_core = PhotoPerCore(4, 2, Named)
    with pytest.raises(RunError, match="damaged"):
        per_core.answer(squares(1, 13, 3))
    assert len(per_core.answer(squares(1, 2)).maps) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_are_started_again_after_a_fork(tmp_path: Path) -> None:
    per_core = PhotoPerCore(4, 2, Named)
    per_core.answer(squares(1))
    child = os.fork()
    if not child:
        done = len(per_core.answer(squares(1, 2)).maps) == 2
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def tiny(cores: int) -> tuple[Networks, PhotoPerCore]:
    torch.manual_seed(0)
    frozen = FrozenNetworks(Classifier("test_efficientnet", 3), side=64)
    linear = LinearMap(frozen.classifier.stage_channels, outputs=3)
    networks = Networks(frozen, config=PredictConfig(object_class="object"), device=torch.device("cpu"), linear=linear)
    return networks, PhotoPerCore(networks.side, cores, networks.twin)


def test_networks_say_the_same_to_the_last_bit_whatever_the_cores_and_the_batch() -> None:
    networks, alone = tiny(1)
    side = networks.side
    photos = np.random.default_rng(0).integers(0, 255, (9, side, side, 3), dtype=np.uint8)
    whole = alone.answer(PhotoBatch(photos))
    parts = [tiny(3)[1].answer(PhotoBatch(photos[start : start + 4])) for start in (0, 4, 8)]
    for name in ("maps", "probabilities", "cells"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))
        np.testing.assert_allclose(getattr(whole, name), getattr(networks.answer(PhotoBatch(photos)), name), atol=1e-4)


def test_twins_share_the_weights_and_nothing_else() -> None:
    networks, _ = tiny(1)
    twin = networks.twin()
    assert twin.frozen is not networks.frozen and twin.linear is not networks.linear
    weights = list(networks.frozen.parameters())
    assert all(one is other for one, other in zip(weights, twin.frozen.parameters(), strict=True))
    assert twin.frozen.make_fast() is not networks.frozen.make_fast()
    with torch.no_grad():
        weights[-1].add_(1)  # what is learned meanwhile is seen by both
    assert torch.equal(list(twin.frozen.parameters())[-1], weights[-1])


def test_predicting_leaves_the_threads_of_the_program_as_they_are() -> None:
    before = torch.get_num_threads()
    networks, per_core = tiny(2)
    per_core.answer(PhotoBatch(np.zeros((3, networks.side, networks.side, 3), np.uint8)))
    assert torch.get_num_threads() == before
