"""Divide the CPUs and GPUs of a Ray cluster among workers. Ray is not imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dips.errors import ConfigError, RunError
from dips.system.console import counted

__all__ = ["Share", "share_out"]


@dataclass(frozen=True)
class Share:
    """The resources of each worker.

    Attributes:
        workers: number of workers.
        cpus: CPUs per worker, which uses as many threads.
        gpus: GPUs per worker, a fraction if several share one.
    """

    workers: int
    cpus: int
    gpus: float = 0.0

    def words(self) -> str:
        """Describe what a worker needs."""
        gpus = f" and {self.gpus:g} of a GPU" if self.gpus else ""
        return counted(self.cpus, "CPU") + gpus


def share_out(nodes: Sequence[tuple[int, int]], workers: int, device: str) -> Share:
    """Return how workers share the CPUs and GPUs of the nodes.

    Nodes that an autoscaler has yet to start are not counted; ``workers`` then request one CPU or GPU each.

    Args:
        nodes: CPUs and GPUs of each node.
        workers: number of workers; 0 for as many as the cluster has GPUs, or CPUs.
        device: the device in the form of ``--device``.

    Raises:
        ConfigError: the device has a number.
        RunError: there are no CPUs or GPUs, and no ``workers`` to request some.

    >>> share_out([(16, 2), (16, 2)], 0, "auto"), share_out([(8, 0), (4, 0)], 3, "auto")
    (Share(workers=4, cpus=8, gpus=1.0), Share(workers=3, cpus=4, gpus=0.0))
    """
    kind, _, number = device.partition(":")
    if number:
        raise ConfigError(f"--device {device}: on a Ray cluster each worker gets its own device; leave out the number")
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if kind == "cuda" and not (gpus or workers):
        raise RunError("the Ray cluster has no GPU; take --device cpu, or say with --workers N how many it is to add")
    on_gpu = kind == "cuda" or (kind == "auto" and gpus > 0)
    count = workers or (gpus if on_gpu else cpus)
    if not count:
        raise RunError("the Ray cluster has no CPU for a worker; say with --workers N how many it is to add")
    on_each = -(-count // gpus) if on_gpu and gpus else 1

    def places(size: int) -> int:
        by_cpus = (node[0] // size for node in nodes)
        return sum(min(place, node[1] * on_each) if on_gpu else place for place, node in zip(by_cpus, nodes, strict=True))

    fitting = (size for size in range(max(node[0] for node in nodes), 0, -1) if places(size) >= count)
    # if the GPU nodes have too few CPUs, CPUs are ignored
    size = next(fitting, 0 if on_gpu and gpus else 1)
    return Share(count, size, int(10_000 / on_each) / 10_000 if on_gpu else 0.0)
