"""The page as one HTML document with inline style and scripts, so that nothing else has to be fetched."""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files

__all__ = ["page"]

_SCRIPTS = ("state.js", "stage.js", "photos.js", "boxes.js", "view.js")


def page() -> tuple[str, str]:
    """Return the document, and the Content-Security-Policy that allows only its own style and scripts, using a nonce."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _document().replace("NONCE", nonce), policy


@cache
def _document() -> str:
    folder = files("dips.view") / "templates"
    text = {name: (folder / name).read_text(encoding="utf-8") for name in ("view.html", "view.css", *_SCRIPTS)}
    scripts = "\n".join(f'<script nonce="NONCE">\n{text[name]}</script>' for name in _SCRIPTS)
    style = f'<style nonce="NONCE">\n{text["view.css"]}</style>'
    return text["view.html"].replace("<!-- style -->", style).replace("<!-- scripts -->", scripts)
