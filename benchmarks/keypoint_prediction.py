"""How much of a keypoint detector's prediction is spent outside its convolutions.

An image of 512 x 512 with 150 objects of 20 to 40 px, image tensor to label map. Weights are
random: the detection head's layers run as they are, and what they give is then replaced by noisy
maps of the objects, so that voting, grouping and segmentation have as much to do as after training.

    python benchmarks/keypoint_prediction.py [--config CONFIG]
"""

import argparse
from pathlib import Path

import torch
from common import Report, parse_options
from keypoints import NUM_OBJECTS, SIZE, noisy, random_cells
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import mmcell.plugin  # noqa: F401
from mmcell.engine.config import load_config
from mmcell.engine.memory import keep_freed_memory
from mmcell.functional.keypoint_graph_targets import multi_scale_targets
from mmcell.models.keypoint_heads.keypoint_graph_head import GraphMaps
from mmcell.structures.flattening import flatten_predictions

MAX_SHARE = 0.35
MIN_OBJECTS = 140
CONFIG = Path(__file__).parents[1] / 'configs/keypoint_graph_tiny_dsb2018.py'


def build_model(config: str) -> nn.Module:
    """The detector, whose head gives the maps of known objects after running its layers."""
    init_default_scope('mmdet')
    cfg = load_config(config).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    head = model.bbox_head
    maps = [noisy(t) for t in multi_scale_targets(random_cells()[0][None], head.scales[-1] + 1)]
    known = [
        GraphMaps(maps[k].heatmaps.logit(), maps[k].short_offsets, maps[k].mid_offsets)
        for k in head.scales
    ]
    layers = head.forward

    def give_known_maps(features: list[Tensor]) -> list[GraphMaps]:
        layers(features)
        return known

    head.forward = give_known_maps
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default=str(CONFIG), help='default: the tiny keypoint graph')
    args, threads = parse_options(parser)
    keep_freed_memory()  # as the tools do
    model = build_model(args.config)
    shape = (SIZE, SIZE)
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    image = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def predict() -> int:
        (sample,) = model.predict(image, [DetDataSample(metainfo=meta)])
        flatten_predictions(sample.pred_instances)
        return len(sample.pred_instances)

    num_objects = predict()
    with profile(activities=[ProfilerActivity.CPU]) as run:
        predict()
    events = run.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    convolutions = sum(e.cpu_time_total for e in events if e.key == 'aten::convolution')
    share = 1 - convolutions / whole
    report = Report(
        f'{Path(args.config).stem}, {SIZE} x {SIZE}, {NUM_OBJECTS} objects, {threads} threads',
        *('objects found', 'whole prediction', 'convolutions', 'outside'),
    )
    report.row(
        str(num_objects), f'{whole / 1e6:.2f} s', f'{convolutions / 1e6:.2f} s', f'{share:.1%}'
    )
    report.target(f'at least {MIN_OBJECTS} objects', num_objects >= MIN_OBJECTS)
    report.target(f'at most {MAX_SHARE:.0%} outside the convolutions', share <= MAX_SHARE)
    report.finish()


if __name__ == '__main__':
    main()
