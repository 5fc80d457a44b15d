"""``dips settings``: what it lists."""

from __future__ import annotations

import re

from dips.config import AdaptConfig, Config, adapt_config, load_config

from .conftest import Dips


def test_settings_lists_all_and_the_lines_are_settings(dips: Dips) -> None:
    said = dips("settings")
    lines = re.findall(r"^(\S+) = (\S+) ", said.out, flags=re.MULTILINE)
    stages = {name.split(".")[0] for name, _ in lines}
    assert stages == {"data", "harvest", "classifier", "localizer", "train", "predict", "adapt"}
    written = [f"{name}={value}" for name, value in lines]
    assert load_config(None, [item for item in written if not item.startswith("adapt.")]) == Config()
    assert adapt_config([item for item in written if item.startswith("adapt.")]) == AdaptConfig()
    assert len(lines) == sum(len(vars(getattr(Config(), stage))) for stage in stages - {"adapt"}) + len(vars(AdaptConfig()))


def test_settings_by_name(dips: Dips) -> None:
    said = dips("settings", "train.epochs")
    assert said.out == (
        "train.epochs = 0    (a whole number of at least 0)\n"
        "    passes over the training photos; 0 = no U-Net is trained, the linear maps are the localizer\n"
    )
    assert len(re.findall(r"^predict\.", dips("settings", "predict").out, flags=re.MULTILINE)) == len(vars(Config().predict))
    assert "classifier.epochs" in dips("settings", "epochs").out
    said = dips("settings", "trian")
    assert said.code == 2 and "did you mean 'train'" in said.err
