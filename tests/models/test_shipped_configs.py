"""Every config that ships builds, trains a step and predicts, shrunk to a few channels."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmcell.structures import RoiMasks

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    str(p.relative_to(ROOT)) for f in ('.', 'ablations') for p in ROOT.glob(f'{f}/*.py')
)


@pytest.fixture(scope='module')
def outcomes():
    """What each distinct model gave: most configs share theirs with others."""
    return {}


def _train_and_predict(cfg, losses_of, predictions_of):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    total, log = model.parse_losses(losses_of(model, counts=(2,)))
    total.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    bad = [name for name, grad in trained.items() if grad is None or not grad.isfinite().all()]
    if hasattr(getattr(model, 'bbox_head', None), 'wh_head'):
        # Center keypoints: an untrained head gives boxes without area.
        torch.nn.init.constant_(model.bbox_head.wh_head[-1].bias, 4.0)
    (sample,) = predictions_of(model, counts=(2,))
    return log, bad, sample.pred_instances


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_a_step_and_predicts_masks_in_boxes(
    name, shrink, outcomes, losses_of, predictions_of
):
    cfg = shrink(Config.fromfile(ROOT / name).model)
    key = str(cfg)
    if key not in outcomes:
        outcomes[key] = _train_and_predict(cfg, losses_of, predictions_of)
    log, without_gradient, found = outcomes[key]
    assert {k: v for k, v in log.items() if not v.isfinite()} == {}
    assert without_gradient == []
    assert found.scores.isfinite().all()
    if cfg.type == 'CornerNet':  # finds boxes only
        assert len(found) > 0
        return
    assert isinstance(found.masks, RoiMasks)
    assert len(found.masks) == len(found) > 0
    if 'ObjectGuided' in cfg.get('mask_head', {}).get('type', ''):
        # Their grids are somewhat larger than the boxes.
        center = (found.masks.boxes[:, :2] + found.masks.boxes[:, 2:]) / 2
        assert (found.bboxes[:, :2] < center).all() and (center < found.bboxes[:, 2:]).all()
    else:
        enlarge = cfg.test_cfg.get('rcnn', {}).get('mask_enlarge', 1.0)
        if enlarge == 1:
            assert found.masks.boxes.equal(found.bboxes)
        else:
            center = (found.bboxes[:, :2] + found.bboxes[:, 2:]) / 2
            half = enlarge * (found.bboxes[:, 2:] - center)
            larger = torch.cat([center - half, center + half], dim=1)
            side = found.masks.image_size[0]
            assert found.masks.image_size == (side, side)
            torch.testing.assert_close(found.masks.boxes, larger.clamp(0, side))


def test_small_rivals_are_trained_as_pffnet():
    def settings(name):
        cfg = Config.fromfile(ROOT / f'{name}_tiny_dsb2018.py')
        return [
            cfg.train_cfg.max_iters,
            cfg.optim_wrapper,
            cfg.param_scheduler,
            cfg.train_dataloader,
            cfg.test_dataloader,
        ]

    expected = settings('pffnet')
    for rival in ('cell_rcnn', 'cell_rcnn_v2', 'ms_rcnn', 'panoptic_fpn', 'point_rend'):
        assert settings(rival) == expected
    # Mask R-CNN: for the same time, measured where the ratio favours it.
    assert settings('mask_rcnn')[1:] == expected[1:]
    assert (expected[0], settings('mask_rcnn')[0]) == (13100, 14000)
