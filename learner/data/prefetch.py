"""Batches drawn ahead of time, in a thread, and already on the device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

import torch

from serl_rt.learner.data.batch import Batch, batch_to_device, map_batch, named_tensors

_POLL_S = 0.1
"""Longest wait of the thread before it looks whether it was closed."""


class Prefetcher:
    """An endless iterator over `sample()`, `depth` batches ahead.

    The batches are those that calling `sample` directly gives, in the same order; only the thread
    calls it, so what it draws from must not change meanwhile: a data set, not a replay that grows.
    For a GPU a batch is pinned and copied on a stream of its own while the update before computes.
    An error of `sample` is raised where its batch would have come.
    """

    def __init__(
        self, sample: Callable[[], Batch], device: torch.device | str = "cpu", depth: int = 2
    ) -> None:
        """Start. Raises ValueError unless depth is at least 1."""
        if depth < 1:
            raise ValueError(f"depth = {depth}: must be at least 1")
        self.device = torch.device(device)
        self._sample = sample
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
        self._closed = threading.Event()
        on_gpu = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Prefetcher:
        return self

    def __next__(self) -> Batch:
        """Return the next batch, on the device. Raises what `sample` raised, then StopIteration."""
        if self._closed.is_set():
            raise StopIteration
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            for _, tensor in named_tensors(item):
                tensor.record_stream(current)  # its memory is reused only when this stream is done
        return item

    def close(self) -> None:
        """End the thread; batches that were drawn ahead are lost."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                item: Batch | BaseException = self._to_device(self._sample())
            except BaseException as error:
                item = error
            while not self._closed.is_set():
                try:
                    self._ready.put(item, timeout=_POLL_S)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return

    def _to_device(self, batch: Batch) -> Batch:
        if self._stream is None:
            return batch_to_device(batch, self.device)
        with torch.cuda.stream(self._stream):
            return batch_to_device(map_batch(torch.Tensor.pin_memory, batch), self.device)
