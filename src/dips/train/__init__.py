"""Training of the localizer on pseudo-pixels drawn from the harvested proposals (paper 3.2, 3.3)."""
