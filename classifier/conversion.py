"""From a torch network to an OpenVINO model that takes uint8 pixels."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from classifier.preprocessing import Preprocessing

if TYPE_CHECKING:
    import openvino


def convert_backbone(backbone: torch.nn.Module, preprocessing: Preprocessing) -> "openvino.Model":
    """Convert a backbone to a model from pixels (batch, crop_size, crop_size, 3) to features (batch, num_features)."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    size = preprocessing.crop_size
    backbone = backbone.eval().cpu()
    # The fused attention of torch's encoder layers has no place in a trace.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of its deprecation and of shapes it holds constant
            # The tracer's own check would run the network twice more; every artifact is checked by its probe.
            traced = torch.jit.trace(backbone, torch.zeros(1, 3, size, size), check_trace=False)
            model = openvino.convert_model(traced, input=[(-1, 3, size, size)])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    processor = PrePostProcessor(model)
    tensor = processor.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * mean for mean in preprocessing.mean]).scale([255 * std for std in preprocessing.std])
    return processor.build()


def attach_head(backbone: "openvino.Model", head: torch.nn.Linear) -> "openvino.Model":
    """Copy a converted backbone and append a linear head: pixels to logits (batch, num_classes)."""
    import openvino
    from openvino import opset13

    model = backbone.clone()
    features = model.output(0).get_node().input_value(0)
    weight, bias = (parameter.detach().cpu().numpy().astype(np.float32) for parameter in (head.weight, head.bias))
    logits = opset13.add(opset13.matmul(features, opset13.constant(weight), False, True), opset13.constant(bias))
    return openvino.Model([opset13.result(logits)], model.get_parameters(), "classifier")
