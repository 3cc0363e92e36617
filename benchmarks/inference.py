"""PFFNet's whole prediction, image tensor to label map, against its network's layers alone.

The layers are run again on the very features and RoIs of the prediction: backbone, neck, RPN, box,
mask and quality head. What the prediction takes beyond them is decoding, NMS and the label map.

Without ``--checkpoint`` the weights are random, and biases make the network see objects everywhere:
the number of objects, which is what costs, is that of a dense image.

    python benchmarks/inference.py [--config CONFIG] [--checkpoint FILE] [--device cuda]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import Report, add_device, median_seconds, parse_options, where
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmcell.plugin  # noqa: F401
from mmcell.engine.config import load_config
from mmcell.structures.flattening import flatten_predictions

SIZE = 1000
NUM_OBJECTS = 1000
MIN_OBJECTS = 900
MAX_RATIO = 1.25
RANDOM_ANCHOR_SCALE = 2  # boxes so small that 1,000 of them survive the NMS side by side
TINY = Path(__file__).parents[1] / 'configs/_base_/models/pffnet_r18_tiny.py'


def build_model(config: str, checkpoint: str | None) -> nn.Module:
    """The model, in evaluation mode, capped at the wanted number of objects."""
    init_default_scope('mmdet')
    cfg = load_config(config).model
    cfg.test_cfg.rcnn.max_per_img = NUM_OBJECTS
    if checkpoint is not None:
        model = MODELS.build(cfg)
        load_checkpoint(model, checkpoint, map_location='cpu')
        return model.eval()
    cfg.rpn_head.anchor_generator.scales = [RANDOM_ANCHOR_SCALE]
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.bias.copy_(torch.tensor([3.0, 0.0]))
        model.roi_head.mask_head.upscaled_logits.bias.fill_(2.0)
    return model


class RecordedPrediction:
    """One whole prediction, whose RoIs are kept for running the layers alone."""

    def __init__(self, model: nn.Module, inputs: Tensor):
        self.model, self.inputs = model, inputs
        self.box_rois: Tensor
        self.mask_rois: list[tuple[Tensor, Tensor]] = []
        box_forward, predict_rois = model.roi_head._bbox_forward, model.roi_head._predict_rois

        def record_boxes(x: tuple[Tensor, ...], rois: Tensor) -> dict:
            self.box_rois = rois
            return box_forward(x, rois)

        def record_masks(x: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> dict:
            self.mask_rois.append((rois, labels))
            return predict_rois(x, rois, labels)

        model.roi_head._bbox_forward = record_boxes
        model.roi_head._predict_rois = record_masks
        self.label_map = self.predict()
        del model.roi_head._bbox_forward, model.roi_head._predict_rois

    def predict(self) -> np.ndarray:
        """Image tensor to label map."""
        shape = (SIZE, SIZE)
        meta = dict(
            img_shape=shape, ori_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0)
        )
        (sample,) = self.model.predict(self.inputs, [DetDataSample(metainfo=meta)])
        return flatten_predictions(sample.pred_instances)

    def run_layers(self) -> None:
        """The network alone, on the same RoIs."""
        _, levels = self.model._extract_levels(self.inputs)
        self.model.rpn_head(levels)
        self.model.roi_head._bbox_forward(levels, self.box_rois)
        for rois, labels in self.mask_rois:
            self.model.roi_head._predict_rois(levels, rois, labels)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=str(TINY), help='default: the tiny PFFNet')
    parser.add_argument('--checkpoint', help='default: random weights')
    add_device(parser)
    args, threads = parse_options(parser)
    torch.manual_seed(0)
    model = build_model(args.config, args.checkpoint).to(args.device)
    run = RecordedPrediction(model, torch.randn(1, 3, SIZE, SIZE).to(args.device))
    num_objects = np.count_nonzero(np.unique(run.label_map))
    layers_s, whole_s = median_seconds(run.run_layers, run.predict, repeats=5)
    ratio = whole_s / layers_s
    report = Report(
        f'{Path(args.config).stem} on {SIZE} x {SIZE}, {where(args.device, threads)}',
        *('proposals', 'objects in the label map', 'layers alone', 'whole prediction', 'ratio'),
    )
    report.row(
        str(len(run.box_rois)),
        str(num_objects),
        f'{layers_s:.3f} s',
        f'{whole_s:.3f} s',
        f'{ratio:.3f}',
    )
    report.target(f'at least {MIN_OBJECTS} objects', num_objects >= MIN_OBJECTS)
    report.target(f'at most {MAX_RATIO} times the layers alone', ratio <= MAX_RATIO)
    report.finish()


if __name__ == '__main__':
    main()
