"""One run on several processes, GPUs or machines: what the ranks of `torchrun` say to each other.

Rank 0 leads: it talks to the controllers, keeps the log, publishes and writes checkpoints. Each
rank holds every n-th transition and draws its share of each batch from those. Gradients are
averaged, so that all ranks keep the same parameters: those of one process on the joint batch.

Random numbers: noise is drawn for the joint batch from one generator, whose state is the same on
all ranks; each rank uses its rows. Batches are drawn from a generator of each rank.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.distributed as dist
from torch import Tensor

from serl_rt.learner.agents.losses import Info

PATIENCE_S = 120.0
"""A rank that says nothing for so long is lost. The leader gives a sign of life while it waits."""


class RankLost(RuntimeError):
    """Another rank died or cannot be reached."""


class Order(IntEnum):
    """What the leader tells the other ranks to do."""

    NOTHING = 0
    LOAD = 1
    """Take over the leader's parameters and the rank's own generators."""
    INSERT = 2
    """Store transitions."""
    UPDATE = 3
    """Store transitions, then update once."""
    COLLECT = 4
    """Send the states of the rank's generators."""
    STOP = 5


@dataclass(frozen=True)
class Ranks:
    """The processes of one `torchrun`, this one among them."""

    rank: int
    size: int

    def give(self, order: Order, updates: int = 0, payload: bytes = b"") -> None:
        """Send an order from the leader to all. Raises RankLost."""
        with self._watch(f"giving the order {order.name}"):
            dist.broadcast(torch.tensor([order, updates, len(payload)]), 0)
            if payload:
                dist.broadcast(torch.frombuffer(bytearray(payload), dtype=torch.uint8), 0)

    def await_order(self) -> tuple[Order, int, bytes]:
        """Return the leader's next order, its number of updates and its payload."""
        with self._watch("waiting for an order"):
            header = torch.zeros(3, dtype=torch.int64)
            dist.broadcast(header, 0)
            order, updates, size = header.tolist()
            payload = torch.empty(size, dtype=torch.uint8)
            if size:
                dist.broadcast(payload, 0)
        return Order(order), updates, payload.numpy().tobytes()

    def gather(self, data: bytes) -> list[bytes]:
        """Return the bytes of every rank, of equal length, on every rank."""
        mine = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        with self._watch("collecting"):
            dist.all_gather(parts, mine)
        return [part.numpy().tobytes() for part in parts]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the ranks, in one message."""
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with self._watch("averaging"):
            dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def average_info(self, info: Info) -> Info:
        """Return the mean metrics of all ranks, as numbers."""
        values = torch.stack([torch.as_tensor(v, dtype=torch.float32).cpu() for v in info.values()])
        self.average([values])
        return dict(zip(info, values.tolist(), strict=True))

    @contextlib.contextmanager
    def _watch(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise RankLost(
                f"rank {self.rank} lost another rank of {self.size} while {doing} ({reason}); "
                "all ranks end. Continue from the last checkpoint with --resume"
            ) from error


class RankDraws:
    """Noise of one rank: its rows of what is drawn for the joint batch. See `draws.Draws`."""

    def __init__(self, generator: torch.Generator, ranks: Ranks) -> None:
        self.generator = generator
        self.ranks = ranks

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers; the first axis of `shape` is the batch."""
        rows, *rest = shape
        joint = torch.randn(
            (self.ranks.size * rows, *rest), generator=self.generator, device=self.generator.device
        )
        return joint[self.ranks.rank * rows : (self.ranks.rank + 1) * rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return integers uniform in [0, high), the same on every rank."""
        return torch.randint(high, shape, generator=self.generator, device=self.generator.device)


def launched() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextlib.contextmanager
def join(init_method: str = "env://") -> Iterator[Ranks]:
    """Meet the other ranks. Raises RankLost when they do not come.

    Orders travel over gloo; what is on a GPU over nccl. The rendezvous of torch is neither
    encrypted nor authenticated: let ranks meet only on a network that you trust.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(
            backend,
            init_method=init_method,
            rank=rank,
            world_size=size,
            timeout=datetime.timedelta(seconds=PATIENCE_S),
        )
    except (RuntimeError, ValueError) as error:
        raise RankLost(f"rank {rank} of {size} did not meet the others: {error}") from error
    try:
        yield Ranks(rank, size)
    finally:
        with contextlib.suppress(RuntimeError):  # the others may be gone
            dist.destroy_process_group()


def local_device(name: str) -> str:
    """Return the rank's own GPU where several ranks of a machine were told to use `cuda`."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name
