"""The model configs that ship, at full width."""

import pytest
import torch
from mmdet.registry import MODELS

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
    assert model.roi_head.mask_roi_extractor.roi_layers[0].output_size == (14, 14)


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
