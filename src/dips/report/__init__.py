"""The report of a run: one self-contained page with numbers, figures and photos."""
