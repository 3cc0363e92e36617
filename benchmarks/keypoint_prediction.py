"""What a prediction of the object-guided detector spends outside the network's convolutions.

512 x 512 pixels, 150 objects of 20 to 40 px, ResNet-50 at full width, random weights. Detections
are put where the objects are, so that the segmentation has 150 boxes; everything else is the
model's own `predict`: features, peaks, boxes, crops, masks and their suppression.

    python benchmarks/keypoint_prediction.py
"""

import argparse
from pathlib import Path

import torch
from common import Report, parse_options
from keypoints import NUM_OBJECTS, SIZE, random_cells
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import mmcell.plugin  # noqa: F401
from mmcell.engine.memory import keep_freed_memory
from mmcell.functional.center_keypoints import center_targets

CONFIG = Path(__file__).parents[1] / 'configs' / '_base_' / 'models' / 'object_guided_r50.py'
TARGET = 0.35  # share of the time outside convolutions


class KnownCenters(nn.Module):
    """A detection head that runs as it is and then says where the objects truly are."""

    def __init__(self, head: nn.Module, boxes: Tensor) -> None:
        super().__init__()
        self.head = head
        zeros = torch.zeros(len(boxes), dtype=torch.long)
        targets = center_targets(boxes - 0.5, zeros, zeros, (1, 1, SIZE // 4, SIZE // 4))
        sizes, offsets = torch.zeros(2, 1, 2, SIZE // 4, SIZE // 4)
        x, y = targets.cells.unbind(1)
        sizes[0, :, y, x], offsets[0, :, y, x] = targets.sizes.T, targets.offsets.T
        self.maps = ([(targets.heatmap == 1).float()], [sizes], [offsets])

    def predict(self, features: tuple[Tensor], samples: list[DetDataSample], rescale: bool) -> list:
        """As the head's."""
        self.head(features)
        metas = [sample.metainfo for sample in samples]
        return self.head.predict_by_feat(*self.maps, metas, rescale)


def build(boxes: Tensor) -> nn.Module:
    cfg = Config.fromfile(CONFIG).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
    model.bbox_head = KnownCenters(model.bbox_head, boxes)
    nn.init.constant_(model.mask_head.branch.predict.bias, 1.0)  # masks with pixels
    model.eval()
    return model


def main() -> None:
    _, threads = parse_options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    keep_freed_memory()
    _, boxes = random_cells()
    model = build(boxes)
    size = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=size)
    image = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        model.predict(image, [sample])  # warm-up
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            (found,) = model.predict(image, [sample])
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    convolutions = sum(event.self_cpu_time_total for event in events if 'conv' in event.key)
    outside = 1 - convolutions / total
    report = Report(
        f'object-guided, ResNet-50, {SIZE} x {SIZE}, {NUM_OBJECTS} objects, {threads} threads',
        *('part', 'ms', 'share'),
    )
    report.row('convolutions', f'{convolutions / 1e3:.0f}', f'{1 - outside:.0%}')
    others = sorted(
        (e for e in events if 'conv' not in e.key), key=lambda e: -e.self_cpu_time_total
    )
    for event in others[:8]:
        time = event.self_cpu_time_total
        report.row(event.key, f'{time / 1e3:.0f}', f'{time / total:.0%}')
    report.row('all', f'{total / 1e3:.0f}', '100%')
    report.target(f'{len(found.pred_instances)} masks of {NUM_OBJECTS}', True)
    report.target(f'at most {TARGET:.0%} outside convolutions: {outside:.0%}', outside <= TARGET)
    report.finish()


if __name__ == '__main__':
    main()
