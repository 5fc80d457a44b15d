"""Fixtures for all tests: no network, made photos, the real ones where they are, and a browser for pages."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes that share the cores; torch and OpenMP read it when loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

import dips
from dips.config import Config, to_toml
from dips.errors import ImageError
from dips.predict.folder import PredictionFolder
from dips.predict.merging import Filled
from dips.predict.prediction import Prediction
from dips.predict.writing import PhotoWriter
from dips.scoremaps.levels import boxes_from_map
from dips.shards.plan import Item, read_plan
from dips.shards.work import Work

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

    from dips import Model
    from dips.models.backbones import Transformer

hypothesis.settings.register_profile("dips", deadline=None)  # on a busy machine any example may take long
hypothesis.settings.load_profile("dips")

MakePhoto = Callable[..., Path]
MakePrediction = Callable[..., Prediction]
Fill = Callable[[PredictionFolder, Callable[[Path], Prediction]], Filled]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run all tests of a file in one process, and so all of a folder whose session takes long to set up.

    So for ``-n N`` alone; whoever names another ``--dist`` gets it.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    class BySetup(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            folder = nodeid.partition("::")[0].rpartition("/")[0]
            return folder if folder in ("tests/cli", "tests/export") else str(super()._split_scope(nodeid))

    return BySetup(config, log)


class NetworkBlocked(ConnectionError):
    """A test tried to reach the network."""


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Every connection but those inside this machine (Unix sockets, the address 127.0.0.1) fails at once."""
    patch = pytest.MonkeyPatch()
    local = getattr(socket, "AF_UNIX", None)

    def guard(name: str) -> None:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family == local or (self.family == socket.AF_INET and address[0] == "127.0.0.1"):
                return original(self, address)
            raise NetworkBlocked(f"tests must not reach the network, this one tried {address}")

        patch.setattr(socket.socket, name, connect)

    resolved = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1":
            return resolved(host, *args, **kwargs)
        raise NetworkBlocked(f"tests must not reach the network, this one looked up {host}")

    guard("connect")
    guard("connect_ex")
    patch.setattr(socket, "getaddrinfo", resolve)
    yield
    patch.undo()


_STORE = """
import os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# one request at a time: its check that an object is there, and its writing, are two steps
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """The address of a server on this machine that answers like Amazon S3; it ends with the tests, also if they are killed."""
    for name in ("moto", "s3fs", "werkzeug"):
        pytest.importorskip(name, reason="object stores need the extras remote and dev")
    with subprocess.Popen(
        [sys.executable, "-c", _STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.stdin.close()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def bucket(object_store: str) -> Iterator[str]:
    """An empty bucket of an object store, ``s3://...``, for the tests of a file; their processes find it, too."""
    from dips.shards.stores import open_store

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", object_store)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        url = f"s3://bucket-{uuid.uuid4().hex[:12]}"
        store, path = open_store(url)
        store.mkdir(path)
        yield url


@pytest.fixture(scope="session")
def loopback_ray() -> Iterator[Any]:
    """Ray, which listens at 127.0.0.1 alone, sends nothing, and is quiet; nothing of it runs yet."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the loopback address
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
        }.items():
            patch.setenv(name, value)  # read when Ray is loaded
        yield pytest.importorskip("ray", reason="ray is not installed (extra 'ray')")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real photos (birds20, insulators, wsol_metadata); tests that need it skip where it is missing."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("DIPS_TEST_DATA") or default)
    if not (folder / "birds20").is_dir():
        pytest.skip(f"no real photos in {folder}; set DIPS_TEST_DATA")
    return folder


@dataclass(frozen=True)
class Stub:
    """Fills a folder with what ``made(path)`` returns; photos of which it raises ``ImageError`` are skipped."""

    folder: PredictionFolder
    made: Callable[[Path], Prediction]

    def open(self) -> Work:
        plan = read_plan(self.folder.files)
        assert plan is not None
        return PhotoWriter.of(self.folder.out, plan).work(self.predict)

    def predict(self, items: Sequence[Item], skipped: Callable[[Path, str], None]) -> Iterator[Prediction]:
        for path in (Path(item.uri) for item in items):
            try:
                yield self.made(path)
            except ImageError as error:
                skipped(path, str(error))


@pytest.fixture(scope="session")
def fill() -> Fill:
    """``fill(folder, made)`` fills a folder as :class:`Stub` does."""
    return lambda folder, made: folder.fill(Stub(folder, made))


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """``make_photo(path, size=(w, h), seed=0, box=None, mode="RGB", **save)`` writes a smooth noisy photo, and its folder.

    With ``box`` (x0, y0, x1, y1) a bright rectangle lies there. The same arguments give the same file.
    """

    def make(
        path: Path,
        size: tuple[int, int] = (32, 24),
        *,
        seed: int = 0,
        box: tuple[int, int, int, int] | None = None,
        mode: str = "RGB",
        **save: Any,
    ) -> Path:
        coarse = np.random.default_rng(seed).integers(0, 160, (4, 4, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        if box is not None:
            photo.paste((255, 230, 40), box)
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.convert(mode).save(path, **save)
        return path

    return make


@pytest.fixture
def class_folders(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """``train/`` and ``test/`` with the classes ``none`` (3 and 1 photos) and ``tower`` (4 and 2 photos)."""
    seed = 0
    for split, none, tower in (("train", 3, 4), ("test", 1, 2)):
        for name, count in (("none", none), ("tower", tower)):
            for number in range(count):
                seed += 1
                box = (8, 6, 20, 18) if name == "tower" else None
                make_photo(tmp_path / "data" / split / name / f"{number}.jpg", seed=seed, box=box)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights of timm's smallest networks."""
    import safetensors.torch
    import torch

    from dips.models.backbones import timm  # type: ignore[attr-defined]

    folder = tmp_path_factory.mktemp("weights")
    for name in ("test_vit", "test_efficientnet"):
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return folder


def random_transformer(name: str, *, seed: int = 0, **overrides: Any) -> Transformer:
    """Build a transformer with random weights; ``overrides`` are timm's, e.g. ``depth=2``."""
    import torch

    from dips.models.backbones import Transformer, timm  # type: ignore[attr-defined]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = timm.create_model(name, pretrained=False, num_classes=0, **({"dynamic_img_size": True} | overrides))
        return Transformer(net.eval(), name)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings that train those networks in a second: one epoch, small photos."""
    networks = {"harvest.sst": "test_vit", "classifier.arch": "test_efficientnet", "localizer.encoder": "test_efficientnet"}
    sides = {"harvest.sizes": [64], "classifier.size": 64, "train.resize": 64, "train.crop": 64, "predict.size": 64}
    return Config().replace(**networks, **sides, **{"train.epochs": 1, "train.batch": 8, "train.crf_size": 16})


class TinyTraining:
    """Trains tiny networks on the demo's photos, without network and with a store of its own.

    Attributes:
        data: ten photos to train on and six to test on, 80 x 64 pixels.
        store: of the harvest.
        recipe: a TOML file of the settings.
    """

    def __init__(self, folder: Path, config: Config, weights: Path) -> None:
        from dips.demo.scenes import write_sample

        self.folder, self.weights = folder, weights
        self.data, self.store, self.recipe = folder / "data", folder / "store", folder / "tiny.toml"
        self.recipe.write_text(to_toml(config), encoding="utf-8")
        write_sample(self.data, train=10, test=6, size=(80, 64))

    def fit(self, name: str, *settings: str, **options: Any) -> Model:
        """Train into the run folder ``name``."""
        defaults = {"recipe": self.recipe, "store": self.store, "weights": str(self.weights), "device": "cpu"}
        return dips.fit(self.data, out=self.folder / name, settings=settings, **{**defaults, **options})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, no weights but those that a test names, a cache of its own."""
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny_training(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config, tiny_weights: Path) -> TinyTraining:
    """See :class:`TinyTraining`."""
    return TinyTraining(tmp_path_factory.mktemp("tiny"), tiny_config, tiny_weights)


@pytest.fixture(scope="module")
def tiny_model(tiny_training: TinyTraining) -> Iterator[Model]:
    """A trained model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIPS_WEIGHTS", raising=False)
        patch.setenv("DIPS_OFFLINE", "1")
        yield tiny_training.fit("run")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium for the tests of one file. Without one they are skipped, in CI they fail.

    It is closed after the file's tests: while Playwright runs, an asyncio loop does, and a thread beside it.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra 'dev')")
    names = (os.environ.get("DIPS_TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        words = "no Chromium on this machine; install it or name it in DIPS_TEST_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(words)  # a green CI says that the pages work
        pytest.skip(words)
    quiet = ["--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=quiet, chromium_sandbox=False)
        yield chromium
        chromium.close()


@pytest.fixture
def page_errors() -> list[str]:
    """What went wrong in :func:`page` so far; a test that provokes an error clears it."""
    return []


@pytest.fixture
def page(browser: Browser, page_errors: list[str]) -> Iterator[Page]:
    """A fresh browser page of 1280 x 800 pixels: Playwright's ``Page``, in its synchronous form.

    Use it as ``page.goto(report.as_uri())`` or ``page.goto(address)``, then ``page.locator("css").click()``,
    ``page.keyboard.press("j")``, ``page.evaluate("document.title")``, ``page.screenshot(path=...)``; what Playwright waits for
    must come within 10 seconds. It has cookies and storage of its own. The test fails if the page wrote an error to the
    console, raised one that nothing caught, or asked for anything outside of this machine: all of them are in
    ``page_errors``. For another size call ``page.set_viewport_size({"width": 400, "height": 800})``, for the dark colours
    ``page.emulate_media(color_scheme="dark")``.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    opened = context.new_page()

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            page_errors.append(f"console: {message.text} ({message.location.get('url', '')})")

    def asked(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "about:", "http://127.0.0.1:")):
            page_errors.append(f"outside: {request.url}")

    # With a route from the start the browser stops at every request. A first one that is set later takes effect some time after
    # the call has returned, so that a request made at once would not be stopped.
    opened.route("**/no-such-address", lambda route: route.continue_())
    opened.on("console", said)
    opened.on("pageerror", lambda error: page_errors.append(f"uncaught: {error}"))
    opened.on("request", asked)
    yield opened
    context.close()
    assert not page_errors, "the page went wrong:\n" + "\n".join(page_errors)


@pytest.fixture
def make_prediction() -> MakePrediction:
    """``make_prediction(size=(w, h), box=(x0, y0, x1, y1) | None, **fields)``: one bright rectangle, or no object."""

    def make(
        size: tuple[int, int] = (120, 90), box: tuple[int, int, int, int] | None = (30, 20, 80, 60), **fields: Any
    ) -> Prediction:
        width, height = size
        score_map = np.zeros((height, width), np.float32)
        if box is not None:
            score_map[box[1] : box[3], box[0] : box[2]] = 0.8
        boxes, scores, regions = boxes_from_map(score_map, 0.5, min_area=0.0, max_boxes=5)
        values: dict[str, Any] = {
            "path": Path("photos") / "a b.jpg",
            "label": "tower" if box else "none",
            "label_score": 0.9,
            "class_scores": np.array([0.1, 0.9] if box else [0.9, 0.1], np.float32),
            "classes": ("none", "tower"),
            "boxes": boxes,
            "box_scores": scores,
            "size": size,
            "grid": score_map,
            "regions": regions,
            "threshold": 0.5,
            **fields,
        }
        return Prediction(**values)

    return make


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the frozen CNN run as it is, in one pass for a batch: for tests that watch it run, or compare to the last bit."""

    class Unfolded:
        def __init__(self, classifier: Any, side: int) -> None:
            self.stages, self.classifier = classifier.stages, classifier

    monkeypatch.setattr("dips.models.frozen.FastCnn", Unfolded)
