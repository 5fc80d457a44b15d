"""One step of the self-distillation, and one check of its health.

In: crops. Out: the loss; student and teacher are updated. Several processes can share a step: each handles its part of the
photos, and all hold the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dips.adaptation.collapse import Health, health_of
from dips.adaptation.crops import Crops
from dips.adaptation.loss import Targets, distillation_loss
from dips.adaptation.networks import Head, Twins, follow
from dips.adaptation.schedules import Schedule
from dips.config import AdaptConfig
from dips.models.transformer import Vit
from dips.train.state import flatten_optimizer, restore_optimizer

__all__ = ["Learner"]

_CHECK_BATCH = 16


class Learner:
    """Networks, optimiser and centre.

    Attributes:
        twins: student and teacher.
        targets: turns the teacher's outputs into answers; holds the centre.
        schedule: the values for each step.
    """

    def __init__(self, vit: Vit, config: AdaptConfig, fabric: Fabric, steps: int) -> None:
        """Take ``vit`` apart, for a run of ``steps`` steps."""
        self.config, self.fabric, self.schedule = config, fabric, Schedule(config, steps)
        with torch.random.fork_rng(devices=[]):  # the same head in every process
            torch.manual_seed(config.seed)
            head = Head(vit.width, config.prototypes)
        self.twins = Twins(vit, blocks=config.blocks, head=head).to(fabric.device)
        self.targets = Targets(config.prototypes, config.centring).to(fabric.device)
        student = self.twins.student
        parts = (("body", student.body_parameters()), ("head", list(student.head.parameters())))
        groups: list[dict[str, Any]] = [
            {"params": own, "part": part, "decays": decays}
            for part, parameters in parts
            for decays in (True, False)
            # biases, norms and layer scales are vectors
            if (own := [parameter for parameter in parameters if (parameter.ndim > 1) == decays])
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0)

    def step(self, crops: Crops, number: int) -> float:
        """Run step ``number``, counted from 0, and return its loss, averaged over all processes."""
        moment, config, twins = self.schedule.at(number), self.config, self.twins
        self._set(moment.lr, moment.head_lr, moment.weight_decay)
        views = [part.to(self.fabric.device) for part in crops if len(part)]
        shown, photos = len(views[0]), views[0].shape[1]
        with self.fabric.autocast():
            entries = [twins.enter(view.flatten(0, 1).float() / 255) for view in views]
            with torch.no_grad():
                outputs = twins.teacher.head(twins.teacher.body(entries[0]))
                targets = self.targets(
                    outputs.unflatten(0, (shown, photos)), moment.temperature, self._gather, self.fabric.global_rank
                )
            with torch.set_grad_enabled(moment.body_learns):
                tokens = torch.cat([twins.student.body(entry) for entry in entries])
            loss = distillation_loss(twins.student.head(tokens).unflatten(0, (-1, photos)), targets, config.student_temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not moment.prototypes_learn:
            twins.student.head.prototypes.grad = None
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(twins.student.parameters(), config.clip)
        self.optimizer.step()
        follow(twins.teacher, twins.student, moment.momentum)
        mean = self.fabric.all_reduce(loss.detach(), reduce_op="mean")
        assert isinstance(mean, Tensor)
        return float(mean)

    def begin(self, photos: Tensor) -> None:
        """Initialise the centre to the teacher's mean output for a few photos, given as in :meth:`health`.

        DINO starts at 0, from where the centre needs tens of steps to reach the outputs; a short run has no more than that.
        """
        if self.config.centring == "mean":
            self.targets.centre.copy_(self._answers(photos)[1].float().mean(0))

    def health(self, photos: Tensor, number: int) -> Health:
        """Return the teacher's health before step ``number``, judged by its answers to a few photos.

        Args:
            photos: ``(N, 3, S, S) uint8``, S a multiple of the patch side.
        """
        tokens, outputs = self._answers(photos)
        return health_of(self.targets.probabilities(outputs, self.schedule.at(number).temperature), tokens)

    @torch.no_grad()
    def _answers(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's class tokens ``(N, C)`` and outputs ``(N, K)``."""
        device, teacher = self.fabric.device, self.twins.teacher
        parts = (self.twins.enter(part.to(device).float() / 255) for part in photos.split(_CHECK_BATCH))
        tokens = torch.cat([teacher.body(part) for part in parts])
        return tokens, teacher.head(tokens)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return all tensors that change, to be saved for resuming."""
        return {
            "student": self.twins.student.state_dict(),
            "teacher": self.twins.teacher.state_dict(),
            "targets": self.targets.state_dict(),
            "optimizer": flatten_optimizer(self.optimizer),
        }

    def restore(self, parts: dict[str, dict[str, Tensor]]) -> None:
        """Load what :meth:`parts` returned.

        Raises:
            RuntimeError, KeyError, ValueError: the tensors belong to other networks.
        """
        self.twins.student.load_state_dict(parts["student"])
        self.twins.teacher.load_state_dict(parts["teacher"])
        self.targets.load_state_dict(parts["targets"])
        restore_optimizer(self.optimizer, parts.get("optimizer", {}))

    def _set(self, lr: float, head_lr: float, weight_decay: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr if group["part"] == "body" else head_lr
            group["weight_decay"] = weight_decay if group["decays"] else 0.0

    def _gather(self, rows: Tensor) -> Tensor:
        """Return the rows ``(N, K)`` of all processes."""
        if self.fabric.world_size == 1:
            return rows
        everywhere: Any = self.fabric.all_gather(rows)
        return torch.cat(list(everywhere))

    def _share_gradients(self) -> None:
        """Average the gradients over all processes: a few MB, in one piece.

        DDP would have to know in advance which weights learn, and here that changes.
        """
        if self.fabric.world_size == 1:
            return
        gradients = [parameter.grad for parameter in self.twins.student.parameters() if parameter.grad is not None]
        mean = self.fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for gradient, own in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(own.view_as(gradient))
