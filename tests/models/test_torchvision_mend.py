"""The mend declares operators only where torchvision cannot, and hides no other failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dips.models._torchvision as module

SCRIPT = """
import importlib, importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("mend_alone", sys.argv[1])
mend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mend)

def enter(name):
    for loaded in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[loaded]
    sys.path.insert(0, f"{sys.argv[2]}/{name}")
    importlib.invalidate_caches()

enter("working")
assert mend.mend() is False
assert not hasattr(torch.ops.torchvision, "nms"), "declared without need"
enter("other")
try:
    mend.mend()
except RuntimeError as error:
    assert "something else" in str(error)
else:
    raise SystemExit("another failure was swallowed")
enter("broken")
assert mend.mend() is True
assert hasattr(torch.ops.torchvision, "nms")
import torchvision
assert torchvision.ready and torchvision.inner.count == 1
assert mend.mend() is False
"""

REGISTER = """
import torch
from torchvision import inner
torch.library.register_fake("torchvision::nms")(lambda *a: None)
torch.library.register_fake("torchvision::qnms")(lambda *a: None)
ready = True
"""


def test_only_the_missing_operator_is_mended(tmp_path: Path) -> None:
    for name, body in {"working": "", "other": "raise RuntimeError('something else')", "broken": REGISTER}.items():
        package = tmp_path / name / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(body)
        (package / "inner.py").write_text("count = 1")
    command = [sys.executable, "-c", SCRIPT, str(module.__file__), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_torchvision_can_be_imported_now() -> None:
    import torchvision

    assert torchvision.__version__
    assert module.mend() is False
