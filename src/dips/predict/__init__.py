"""From a new photo to its boxes, and a folder of results; needs neither torch nor anything of training."""
