"""From photos to scored proposals, stored between runs (paper 3.1, 3.2).

``harvester`` runs the transformer and produces a ``harvest`` (squares, attention, refined maps); ``scored_photos`` turns its
maps into ``proposals`` and scores them (``scoring``). The ``store`` keeps all of it between runs.
"""
