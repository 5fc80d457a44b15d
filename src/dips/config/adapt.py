"""The settings of ``dips adapt``, described as those of :mod:`dips.config.stages`; a run knows nothing of them.

DINO (Caron et al., ICCV 2021) trains random weights on a million photos. Where finished weights, few photos or a laptop call
for something else, the defaults are ours; docs/adapt.md lists the differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

__all__ = ["AdaptConfig"]


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """Self-distillation of a transformer, continued on unlabelled photos by `dips adapt` (DINO: Caron et al., ICCV 2021)."""

    sst: Annotated[str, Meta(description="the transformer to start from, as harvest.sst names it")] = "auto"
    seed: Annotated[int, Meta(ge=0, le=10**9, description="seed of the head's initial weights, the order and the crops")] = 0
    photos: Annotated[
        int, Meta(ge=0, description="number of photos, at most, that are learned from, evenly spread over all; 0 = all")
    ] = 2000
    minutes: Annotated[
        float,
        Meta(
            ge=0.1,
            le=10_000,
            description="time for all steps and checks, about; the number of steps is found by timing a few of them",
        ),
    ] = 10.0
    steps: Annotated[int, Meta(ge=0, description="number of steps; 0 = as many as adapt.minutes allow")] = 0
    batch: Annotated[int, Meta(ge=2, description="photos per step, of all processes together")] = 16
    blocks: Annotated[
        int,
        Meta(ge=1, description="blocks that learn, counted from the last; the others and the embedding stay as they are"),
    ] = 2
    global_side: Annotated[
        int, Meta(ge=28, le=1024, description="side in pixels of the two global crops, rounded to the transformer's patches")
    ] = 224
    local_side: Annotated[
        int, Meta(ge=28, le=1024, description="side in pixels of the local crops, rounded to the transformer's patches")
    ] = 96
    local_crops: Annotated[int, Meta(ge=0, le=32, description="local crops per photo")] = 4
    scale: Annotated[
        float,
        Meta(ge=0.05, le=1, description="a global crop shows at least this fraction of the photo's area, a local one at most"),
    ] = 0.4
    colour: Annotated[
        float,
        Meta(
            ge=0,
            le=2,
            description="strength of the random changes of colour, and up to 1 the chance of grey and solarised crops, "
            "relative to DINO's; colour often tells what matters in one's photos",
        ),
    ] = 0.5
    prototypes: Annotated[int, Meta(ge=2, le=65536, description="outputs of the head (DINO: 65536)")] = 1024
    centring: Annotated[
        Literal["mean", "sinkhorn"],
        Meta(
            description="what keeps the teacher from one answer to all photos: its running mean is subtracted (DINO), or each "
            "batch is spread evenly over the prototypes (SwAV)"
        ),
    ] = "mean"
    head_first: Annotated[float, Meta(ge=0, le=0.9, description="fraction of the steps in which the new head learns alone")] = (
        0.2
    )
    lr: Annotated[float, Meta(ge=0, le=1, description="learning rate of the blocks")] = 2e-5
    head_lr: Annotated[float, Meta(ge=0, le=1, description="learning rate of the head")] = 5e-4
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="weight decay at the first step")] = 0.04
    weight_decay_end: Annotated[
        float, Meta(ge=0, le=1, description="weight decay at the last step, on a cosine (DINO: 0.4)")
    ] = 0.04
    momentum: Annotated[
        float,
        Meta(ge=0, le=1, description="what the teacher keeps of itself at the first step; 1 at the last, on a cosine"),
    ] = 0.99
    teacher_temperature: Annotated[float, Meta(ge=0.01, le=1, description="the teacher's temperature at the first step")] = 0.04
    teacher_temperature_end: Annotated[
        float,
        Meta(ge=0.01, le=1, description="the teacher's temperature after the first 30% of the steps, to which it moves evenly"),
    ] = 0.04
    student_temperature: Annotated[float, Meta(ge=0.01, le=1, description="temperature of the student")] = 0.1
    clip: Annotated[float, Meta(ge=0.001, le=1000, description="largest norm of the gradient of all weights together")] = 3.0
    checks: Annotated[int, Meta(ge=1, le=1000, description="how often the teacher is watched for collapse")] = 10
    workers: Annotated[int, Meta(ge=0, le=256, description="processes that cut crops; 0 = the main process does")] = 0
