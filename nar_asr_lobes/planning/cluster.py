"""GPUs, nodes and network: figures of a machine, with their sources."""

from __future__ import annotations

from dataclasses import dataclass

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import Checked, count, number


@dataclass(frozen=True)
class Gpu:
    """One accelerator.

    ``flops`` is the rate of large matrix products in bfloat16: of the H200
    measured, of the others 80 % of the data sheet's, as there. ``memory`` and
    ``bandwidth`` (bytes, bytes a second) and ``link`` (bytes a second to the
    other GPUs of the node, in one direction) are from data sheets.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float


GPUS = {
    "H200": Gpu(790e12, 141e9, 4.8e12, 450e9),
    "H100": Gpu(790e12, 80e9, 3.35e12, 450e9),
    "B200": Gpu(1800e12, 180e9, 8.0e12, 900e9),
    "A100": Gpu(250e12, 80e9, 2.0e12, 300e9),
    "RTX4090": Gpu(132e12, 24e9, 1.0e12, 32e9),
}


@dataclass(frozen=True)
class Cluster(Checked):
    """GPUs in nodes, and the network between these.

    Arguments
    ---------
    gpus : int
        Processes of the run.
    gpu : str
        A name in ``GPUS``.
    gpus_per_node : int
        GPUs of a node; a smaller run has one node.
    nics : int
        Network cards of a node.
    nic_gbits : float
        Gigabits a second of each, in one direction.
    efficiency : float
        Reached share of a link's rate.
    hop_us : float
        Microseconds that a message takes to the next GPU.
    compression : int
        Bytes of a gradient on the network: 4, or 2 with bfloat16.
    interference : float
        Share of the computation's speed that is lost while gradients travel.
    straggling : float
        Costliest rank above the mean, as docs/scale.md measures it.
    cores : float
        Processor cores for the loaders of a GPU.
    disk : float
        Gigabytes a second that a checkpoint is written with.
    watts, price : float
        Of a GPU with its share of server and cooling; in money an hour.

    Example
    -------
    >>> Cluster(gpus=64).nodes
    8
    >>> Cluster(gpus=12)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: gpus is 12; it must be a multiple of \
gpus_per_node (8)
    """

    gpus: int = count(64, least=1)
    gpu: str = "H200"
    gpus_per_node: int = count(8, least=1)
    nics: int = count(8, least=1)
    nic_gbits: float = number(400.0, above=0)
    efficiency: float = number(0.8, above=0, most=1)
    hop_us: float = number(5.0, least=0)
    compression: int = count(4, least=2, most=4)
    interference: float = number(0.05, least=0, below=1)
    straggling: float = number(0.0029, least=0)
    cores: float = number(12.0, above=0)
    disk: float = number(2.0, above=0)
    watts: float = number(1400.0, above=0)
    price: float = number(3.0, least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.gpu not in GPUS:
            raise UserError(
                f"gpu is {self.gpu!r}; choose from {', '.join(GPUS)}"
            )
        if self.gpus > self.gpus_per_node and self.gpus % self.gpus_per_node:
            raise UserError(
                f"gpus is {self.gpus}; it must be a multiple of "
                f"gpus_per_node ({self.gpus_per_node})"
            )

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return max(1, self.gpus // self.gpus_per_node)

    @property
    def device(self) -> Gpu:
        """Figures of one GPU."""
        return GPUS[self.gpu]
