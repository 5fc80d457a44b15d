"""Sample data for ``dips demo``: generated drone-like photos, with and without a lattice tower."""
