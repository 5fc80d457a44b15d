"""Photos, how they are laid out on disk, and their ground truth. No torch."""

from __future__ import annotations

from dips.data.check import check_data
from dips.data.ground_truth import load_ground_truth
from dips.data.images import image_size, read_image
from dips.data.labels import align_classes, class_counts, require_trainable
from dips.data.load import available_splits, load_data
from dips.data.photo_files import list_images
from dips.data.split import split_validation

__all__ = [
    "align_classes",
    "available_splits",
    "check_data",
    "class_counts",
    "image_size",
    "list_images",
    "load_data",
    "load_ground_truth",
    "read_image",
    "require_trainable",
    "split_validation",
]
