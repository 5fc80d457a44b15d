"""From a new photo to its boxes, and to a folder or stream of results; needs neither torch nor any training code."""
