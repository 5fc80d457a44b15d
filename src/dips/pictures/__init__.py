"""Drawing on photos: overlays, marks, text, contact sheets."""
