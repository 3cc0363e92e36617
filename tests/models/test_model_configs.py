"""The model configs that ship, at full width."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.nn.modules.utils import _pair

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
RESNET18_CHANNELS = [64, 128, 256, 512]


@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        (
            'pffnet_r101_gn',
            {
                '': 'PanopticCellRCNN',
                'backbone': 'ResNet',
                'roi_head': 'PanopticRoIHead',
                'roi_head.bbox_head': 'Shared4Conv1FCBBoxHead',
                'roi_head.mask_head': 'DualModalMaskHead',
                'roi_head.mask_quality_head': 'MaskQualityHead',
                'semantic_head': 'GCNSemanticHead',
                'instance_semantic_head': 'RAFF',
                'loss_consistency': 'SemanticConsistencyLoss',
            },
        ),
        (
            'mask_rcnn_r101_gn',
            {
                '': 'MaskRCNN',
                'backbone': 'ResNet',
                'roi_head': 'RoiMasksRoIHead',
                'roi_head.bbox_head': 'Shared4Conv1FCBBoxHead',
                'roi_head.mask_head': 'FCNMaskHead',
            },
        ),
        (
            'cell_rcnn_r101_gn',
            {
                '': 'PanopticCellRCNN',
                'roi_head': 'RoiMasksRoIHead',
                'roi_head.mask_head': 'FCNMaskHead',
                'semantic_head': 'GCNSemanticHead',
            },
        ),
        (
            'cell_rcnn_v2_r101_gn',
            {
                '': 'PanopticCellRCNN',
                'roi_head': 'PanopticRoIHead',
                'roi_head.mask_head': 'DualModalMaskHead',
                'semantic_head': 'GCNSemanticHead',
                'instance_semantic_head': 'RAFF',
            },
        ),
        (
            'panoptic_fpn_r101_gn',
            {
                '': 'PanopticCellRCNN',
                'roi_head': 'RoiMasksRoIHead',
                'semantic_head': 'PanopticFPNSemanticHead',
            },
        ),
        (
            'point_rend_r101_gn',
            {
                '': 'PointRend',
                'roi_head': 'RoiMasksPointRendRoIHead',
                'roi_head.mask_head': 'CoarseMaskHead',
                'roi_head.point_head': 'LabelMapPointHead',
            },
        ),
        (
            'ms_rcnn_r101_gn',
            {
                '': 'MaskScoringRCNN',
                'roi_head': 'RoiMasksMaskScoringRoIHead',
                'roi_head.mask_iou_head': 'MaskIoUHead',
            },
        ),
    ],
)
def test_paper_models_are_resnet_101_with_group_norm_everywhere(model_config, name, parts):
    with torch.device('meta'):  # structure without memory
        model = MODELS.build(model_config(name))
    for path, kind in parts.items():
        assert type(model.get_submodule(path)).__name__ == kind
    assert model.backbone.depth == 101
    kinds = {type(module).__name__ for module in model.modules() if 'Norm' in type(module).__name__}
    assert kinds == {'GroupNorm'}
    assert all(m.num_groups == 32 for m in model.modules() if isinstance(m, torch.nn.GroupNorm))
    roi_align = model.roi_head.mask_roi_extractor.roi_layers[0]
    assert tuple(_pair(roi_align.output_size)) == (14, 14)


@pytest.mark.parametrize('name', ['mask_rcnn_r101', 'cell_rcnn_v2_r101'])
def test_models_of_the_v2_paper_train_no_normalisation(model_config, name):
    with torch.device('meta'):
        model = MODELS.build(model_config(name)).train()
    norms = [m for m in model.modules() if 'Norm' in type(m).__name__]
    assert norms and all(m in set(model.backbone.modules()) for m in norms)
    assert not any(m.training or m.weight.requires_grad for m in norms)


def test_v2_has_no_weights_no_quality_and_no_consistency(model_config):
    with torch.device('meta'):
        models = [MODELS.build(model_config(f'cell_rcnn_v2_{k}')) for k in ('r101', 'r101_gn')]
    for model in models:
        assert model.semantic_head.loss_weight == model.instance_semantic_head.loss_weight == 1
        assert model.instance_semantic_head.mode == 'replacement'
        assert model.roi_head.mask_quality_head is None
        assert model.loss_consistency is None


@pytest.mark.parametrize('name', ['mask_rcnn_r101_gn', 'pffnet_r101_gn', 'mask_rcnn_r18_tiny'])
def test_limits_of_test_images_follow_from_one_number(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.model.test_cfg.rcnn.max_per_img == cfg.max_objects
    assert cfg.model.test_cfg.rpn.max_per_img == 2 * cfg.max_objects


def test_full_pffnet_trains_and_predicts(model_config, losses_of, predictions_of):
    cfg = model_config('pffnet_r101_gn')
    cfg.backbone.update(depth=18, init_cfg=None)  # quick, and no download
    cfg.neck.in_channels = cfg.semantic_head.in_channels = RESNET18_CHANNELS
    cfg.train_cfg.rcnn.sampler.num = 8
    cfg.test_cfg.rpn.max_per_img = 8
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    loss, log = model.parse_losses(losses_of(model, counts=(3,)))
    assert len(log) == 1 + 9 + 1  # the total, nine losses, one accuracy
    loss.backward()
    frozen = model.backbone.frozen_stages
    assert frozen == 1  # as in MMDetection: the stem and the first stage
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    found = predictions_of(model, counts=(3,))[0].pred_instances
    assert len(found.masks) == len(found.mask_scores) == len(found) > 0
    assert found.masks.probs.shape[1:] == (28, 28)
