"""Engines: a batch of pixels in, a batch of numbers out. Each imports its library when it is made."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from classifier.preprocessing import Pixels, Preprocessing

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs a network on uint8 pixels; normalisation is part of the engine."""

    name: str
    tolerance: float
    """Largest difference from float32 on a CPU, relative to the largest output, that is rounding and no defect."""

    def run(self, pixels: Pixels) -> Array:
        """Compute outputs (batch, num_outputs) of pixels (batch, crop_size, crop_size, 3). Safe to call in threads."""
        ...


class OpenVinoEngine:
    """OpenVINO on the CPU, in float32."""

    tolerance = 1e-3

    def __init__(self, model: "Path | Any", *, num_threads: int, num_streams: int = 1) -> None:
        """Compile an IR file or an openvino.Model whose input is uint8 (batch, height, width, 3).

        `num_streams` requests run side by side, sharing `num_threads` threads.
        """
        import openvino

        core = openvino.Core()
        # On processors with AMX the default precision is bfloat16; served probabilities must not depend on it.
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": num_streams,
            "INFERENCE_NUM_THREADS": num_threads,
        }
        self._compiled = core.compile_model(str(model) if isinstance(model, Path) else model, "CPU", properties)
        self._requests = threading.local()
        self.name = (
            f"OpenVINO {openvino.__version__.split('-')[0]} (CPU, {num_streams} x {num_threads // num_streams} threads)"
        )

    def run(self, pixels: Pixels) -> Array:
        """Compute outputs (batch, num_outputs)."""
        if not hasattr(self._requests, "request"):
            self._requests.request = self._compiled.create_infer_request()
        request = self._requests.request
        request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)


class TorchEngine:
    """torch on CUDA or on the CPU."""

    def __init__(self, network: "torch.nn.Module", preprocessing: Preprocessing, device: str) -> None:
        """Take a network that maps normalised images (batch, 3, height, width) to outputs (batch, num_outputs)."""
        import torch

        self._device = torch.device(device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._normalize = Normalizer(preprocessing, self._device)
        self.name = f"torch {torch.__version__} ({device})"
        # cuDNN convolutions use TF32, with 10 bits of mantissa
        self.tolerance = 1e-3 if self._device.type == "cpu" else 1e-2

    def run(self, pixels: Pixels) -> Array:
        """Compute outputs (batch, num_outputs)."""
        import torch

        with torch.inference_mode():
            images = self._normalize(torch.from_numpy(np.ascontiguousarray(pixels)))
            outputs: Array = self._network(images).float().cpu().numpy()
        return outputs


class Normalizer:
    """Moves uint8 pixels to a device and normalises them there."""

    def __init__(self, preprocessing: Preprocessing, device: "torch.device") -> None:
        import torch

        self._device = device
        self._scale = torch.tensor([1 / (255 * std) for std in preprocessing.std], device=device)
        ratios = zip(preprocessing.mean, preprocessing.std, strict=True)
        self._shift = torch.tensor([-mean / std for mean, std in ratios], device=device)

    def __call__(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Turn pixels (batch, height, width, 3) into images (batch, 3, height, width), channels last in memory."""
        batch, height, width, _ = pixels.shape
        # A row of pixels at a time: torch has no vector instructions for an inner dimension of 3.
        rows = pixels.to(self._device, non_blocking=True).reshape(batch * height, width * 3).float()
        images = rows.mul_(self._scale.repeat(width)).add_(self._shift.repeat(width))
        return images.view(batch, height, width, 3).permute(0, 3, 1, 2)
