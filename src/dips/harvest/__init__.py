"""From photos to scored proposals, kept in a store (paper 3.1, 3.2)."""
