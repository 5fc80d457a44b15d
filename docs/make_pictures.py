"""Make the pictures of README and tutorial from a finished demo, so that they are free to use and show what the program does.

    dips demo --out dips-demo
    python docs/make_pictures.py dips-demo --photo tower/0017

In: the folder that ``dips demo`` made, and a Chromium (as for the tests of the pages). Out: ``docs/pictures/``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dips.data.images import read_image
from dips.pictures.drawing import blend

PICTURES = Path(__file__).parent / "pictures"
GAP = 12  # pixels between photos on a strip
COLOURS = 256  # of a screenshot


def strip(photos: list[np.ndarray], height: int, file: Path) -> None:
    """Write photos ``(H, W, 3) uint8`` side by side as a JPEG."""
    scaled = [Image.fromarray(photo).resize((round(photo.shape[1] * height / photo.shape[0]), height)) for photo in photos]
    page = Image.new("RGB", (sum(photo.width for photo in scaled) + GAP * (len(scaled) - 1), height), "white")
    left = 0
    for photo in scaled:
        page.paste(photo, (left, 0))
        left += photo.width + GAP
    page.save(file, quality=82, optimize=True)


def score_map(demo: Path, stem: str) -> np.ndarray:
    """Return the photo with its stored score map over it."""
    record = json.loads((demo / "predictions" / "json" / f"{stem}.json").read_text())
    photo = read_image(record["path"])
    levels = cv2.imread(str(demo / "predictions" / "maps" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    assert levels is not None
    scores = np.asarray(cv2.resize(levels.astype(np.float32) / 65535, photo.shape[1::-1]), np.float32)
    return np.asarray(blend(photo, scores))


def screenshot(page: Page, file: Path) -> None:
    """Write what the page shows, in few colours."""
    page.screenshot(path=file)
    picture = Image.open(file).convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(file, optimize=True)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--photo", required=True, help="the photo at the top of the README, below predictions/json")
    given = parser.parse_args()
    demo: Path = given.demo
    PICTURES.mkdir(exist_ok=True)

    record = json.loads((demo / "predictions" / "json" / f"{given.photo}.json").read_text())
    overlay = read_image(demo / "predictions" / "overlays" / f"{given.photo}.jpg")
    strip([read_image(record["path"]), score_map(demo, given.photo), overlay], 300, PICTURES / "overlay.jpg")
    train = demo / "photos" / "train"
    folders = [sorted((train / name).iterdir())[:4] for name in ("tower", "none")]
    for name, files in zip(("tower", "none"), folders, strict=True):
        strip([read_image(file) for file in files], 160, PICTURES / f"train-{name}.jpg")
    overlays = sorted((demo / "predictions" / "overlays").rglob("*.jpg"))
    strip([read_image(file) for file in overlays[-20:-16]], 220, PICTURES / "predictions.jpg")

    program = next(found for name in ("chromium", "google-chrome", "chromium-browser") if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto((demo / "run" / "report.html").resolve().as_uri())
        page.wait_for_timeout(1000)
        page.evaluate("document.querySelector('#photos').scrollIntoView()")
        page.wait_for_timeout(1500)
        screenshot(page, PICTURES / "report.png")

        command = [sys.executable, "-m", "dips", "view", str(demo / "predictions"), "--no-open"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            address = next(match[0] for line in server.stderr if (match := re.search(r"http://\S+", line)))
            page.goto(address)
            page.get_by_placeholder("part of a name").fill("tower")
            page.wait_for_timeout(1500)
            screenshot(page, PICTURES / "view.png")
            server.terminate()
        browser.close()


if __name__ == "__main__":
    main()
