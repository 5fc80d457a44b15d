from __future__ import annotations

import numpy as np
import pytest

from dips.errors import ConfigError, ProtocolError
from dips.evaluate.protocol import find_protocol


def test_the_fields_frame_truncates() -> None:
    protocol = find_protocol("wsol-224")
    assert protocol.frame(None) == (224, 224)
    assert protocol.boxes([[10, 20, 500, 375]], (500, 375)).tolist() == [[4, 11, 224, 224]]
    assert protocol.resized(np.ones((20, 30)), None).shape == (224, 224)


def test_original_pixels_stay_as_they_are() -> None:
    protocol = find_protocol("original-pixels")
    assert protocol.frame((500, 375)) == (500, 375)
    assert protocol.boxes([[10, 20, 500, 375]], (500, 375)).tolist() == [[10, 20, 500, 375]]
    assert protocol.resized(np.ones((20, 30)), (500, 375)).shape == (375, 500)
    with pytest.raises(ProtocolError, match=r"image_sizes\.txt"):
        protocol.frame(None)


def test_maps_that_fit_are_not_touched() -> None:
    score_map = np.random.default_rng(0).random((224, 224))
    assert find_protocol("wsol-224").resized(score_map, None) is score_map


def test_resizing_stays_within_0_and_1() -> None:
    resized = find_protocol("wsol-224").resized(np.random.default_rng(0).random((9, 7)).astype(np.float16), None)
    assert resized.min() >= 0 and resized.max() <= 1


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match="wsol-224, original-pixels"):
        find_protocol("voc")
