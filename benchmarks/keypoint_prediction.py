"""How much of a keypoint detector's prediction is spent outside its convolutions.

An image of 512 x 512 with 150 objects of 20 to 40 px, image tensor to label map. Weights are
random: the detection head's layers run as they are, and what they give is then replaced by maps of
the objects, so that peaks, grouping and segmentation have as much to do as after training.

    python benchmarks/keypoint_prediction.py [CONFIG ...]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from common import Report, parse_options
from keypoints import NUM_OBJECTS, SIZE, noisy, random_cells
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from torch import nn
from torch.profiler import ProfilerActivity, profile

import mmcell.plugin  # noqa: F401
from mmcell.engine.config import load_config
from mmcell.engine.memory import keep_freed_memory
from mmcell.functional.center_keypoints import center_targets
from mmcell.functional.keypoint_graph_targets import multi_scale_targets
from mmcell.models.keypoint_heads.keypoint_graph_head import GraphMaps, KeypointGraphHead
from mmcell.structures.flattening import flatten_predictions

MAX_SHARE = 0.35
MIN_OBJECTS = 140
CONFIGS = ('object_guided_dsb2018', 'keypoint_graph_dsb2018', 'keypoint_graph_tiny_dsb2018')
FOLDER = Path(__file__).parents[1] / 'configs'


def graph_maps(head: KeypointGraphHead) -> list[GraphMaps]:
    """What a keypoint graph head would give for the objects, with noise."""
    maps = [noisy(t) for t in multi_scale_targets(random_cells()[0][None], head.scales[-1] + 1)]
    return [
        GraphMaps(maps[k].heatmaps.logit(), maps[k].short_offsets, maps[k].mid_offsets)
        for k in head.scales
    ]


def center_maps() -> tuple[list[torch.Tensor], ...]:
    """Heatmap logits, sizes and offsets of a center keypoint head for the objects."""
    boxes = random_cells()[1]
    zeros = torch.zeros(len(boxes), dtype=torch.long)
    targets = center_targets(boxes - 0.5, zeros, zeros, (1, 1, SIZE // 4, SIZE // 4))
    sizes, offsets = torch.zeros(2, 1, 2, SIZE // 4, SIZE // 4)
    x, y = targets.cells.unbind(1)
    sizes[0, :, y, x], offsets[0, :, y, x] = targets.sizes.T, targets.offsets.T
    return [(targets.heatmap == 1).float()], [sizes], [offsets]


def build_model(config: Path) -> nn.Module:
    """The detector, whose head gives the maps of known objects after running its layers."""
    init_default_scope('mmdet')
    cfg = load_config(config).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    head = model.bbox_head
    is_graph = isinstance(head, KeypointGraphHead)
    known: Any = graph_maps(head) if is_graph else center_maps()
    layers = head.forward

    def give_known_maps(features: Any) -> Any:
        layers(features)
        return known

    head.forward = give_known_maps
    if not is_graph:
        nn.init.constant_(model.mask_head.branch.predict.bias, 1.0)  # masks with pixels
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', default=CONFIGS, help='names in configs/')
    args, threads = parse_options(parser)
    keep_freed_memory()  # as the tools do
    shape = (SIZE, SIZE)
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    image = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    report = Report(
        f'{SIZE} x {SIZE}, {NUM_OBJECTS} objects, {threads} threads',
        *('config', 'objects found', 'whole prediction', 'convolutions', 'outside'),
    )
    for name in args.configs:
        model = build_model(FOLDER / f'{name}.py')

        @torch.inference_mode()
        def predict(model: nn.Module = model) -> int:
            (sample,) = model.predict(image, [DetDataSample(metainfo=meta)])
            flatten_predictions(sample.pred_instances)
            return len(sample.pred_instances)

        count = predict()
        with profile(activities=[ProfilerActivity.CPU]) as run:
            predict()
        events = run.key_averages()
        whole = sum(event.self_cpu_time_total for event in events)
        convolutions = sum(e.cpu_time_total for e in events if e.key == 'aten::convolution')
        share = 1 - convolutions / whole
        seconds = (f'{time / 1e6:.2f} s' for time in (whole, convolutions))
        report.row(name, str(count), *seconds, f'{share:.0%}')
        report.target(f'{name}: at least {MIN_OBJECTS} objects', count >= MIN_OBJECTS)
        report.target(f'{name}: at most {MAX_SHARE:.0%} outside', share <= MAX_SHARE)
    report.finish()


if __name__ == '__main__':
    main()
