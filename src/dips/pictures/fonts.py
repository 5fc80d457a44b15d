"""A font that covers the characters of a text, as class names may be in any script.

DejaVu Sans comes with matplotlib and covers Latin, Greek, Cyrillic and more; for other scripts, common system fonts are tried
by name. Pillow's own small font is the last resort.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

__all__ = ["Font", "font_for"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "malgun.ttf",
    "YuGothM.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Nirmala.ttf",
)


def font_for(text: str, size: int) -> Font:
    """Return the first known font that covers all of ``text``, at ``size`` pixels; DejaVu Sans if none does."""
    characters = "".join(sorted({character for character in text if not character.isspace()}))
    return _load(_best_file(characters), max(1, size))


@lru_cache(maxsize=256)
def _best_file(characters: str) -> str:
    files = [*_matplotlib_font(), *_SYSTEM_FONTS]
    for file in files:
        try:
            font = ImageFont.truetype(file, 16)
        except OSError:
            continue
        missing = _picture(font, "\uffff")
        if all(_picture(font, character) != missing for character in characters):
            return file
    return next(iter(_matplotlib_font()), "")


@lru_cache(maxsize=64)
def _load(file: str, size: int) -> Font:
    try:
        return ImageFont.truetype(file, size) if file else ImageFont.load_default(size=size)
    except OSError:  # pragma: no cover - the file was readable a moment ago
        return ImageFont.load_default(size=size)


def _matplotlib_font() -> list[str]:
    spec = find_spec("matplotlib")  # finds the files without importing the package
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    paths = [Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" for folder in folders]
    return [str(path) for path in paths if path.is_file()]


def _picture(font: ImageFont.FreeTypeFont, text: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(text)
    return mask.size, bytes(iter(mask))
