"""Numbers on their way from a device to the host, without waiting for the device."""

import torch
from torch import Tensor


class HostCopy:
    """A tensor that is copied to the host while the device goes on."""

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()

    def is_ready(self) -> bool:
        """Tell whether the copy is there."""
        return self._done is None or self._done.query()

    def get(self) -> Tensor:
        """Wait for the copy."""
        if self._done is not None:
            self._done.synchronize()
        return self._host
