"""From photos to scored proposals, kept in a store (paper 3.1, 3.2).

``harvester`` runs the transformer and makes a ``harvest`` (squares, attention, refined maps); ``scored_photos`` turns its maps
into ``proposals`` and scores them (``scoring``). The ``store`` keeps all of it between runs.
"""
