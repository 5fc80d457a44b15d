from __future__ import annotations

import pytest

from dips.pictures import fonts
from dips.pictures.fonts import font_for


@pytest.mark.parametrize("text", ["tower", "Изолятор", "ψηλός", "żółć ñ é — €"])
def test_letters_are_there(text: str) -> None:
    font = font_for(text, 16)
    missing = bytes(iter(font.getmask("\uffff")))
    assert all(bytes(iter(font.getmask(letter))) != missing for letter in text if letter != " ")


def test_size_is_in_pixels() -> None:
    small, large = (font_for("tower", size).getbbox("tower") for size in (10, 40))
    assert large[3] - large[1] == pytest.approx(4 * (small[3] - small[1]), rel=0.2)


def test_unknown_letters_do_not_fail() -> None:
    assert font_for("\U0010fffd", 12).getbbox("\U0010fffd") is not None


def test_it_works_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_matplotlib_font", list)
    monkeypatch.setattr(fonts, "_SYSTEM_FONTS", ("no such font.ttf",))
    fonts._best_file.cache_clear()
    try:
        assert font_for("tower", 12).getbbox("tower")[2] > 0
    finally:
        fonts._best_file.cache_clear()
