"""Importing this module registers every mmcell component into MMDetection's registries.

Configs switch it on with ``custom_imports = dict(imports=['mmcell.plugin'])``.
"""

import mmcell.datasets.cell_dataset
import mmcell.datasets.loading
import mmcell.datasets.transforms
import mmcell.engine.bfloat16
import mmcell.engine.checkpoints
import mmcell.engine.config_scope
import mmcell.engine.hooks
import mmcell.evaluation.cell_metric
import mmcell.evaluation.coco_metric
import mmcell.evaluation.dump_predictions
import mmcell.models.backbones.full_resolution_resnet
import mmcell.models.data_preprocessor
import mmcell.models.dense_nms
import mmcell.models.detectors.center_keypoint_detector
import mmcell.models.detectors.keypoint_graph_detector
import mmcell.models.detectors.panoptic_cell_rcnn
import mmcell.models.ignoring_assigner
import mmcell.models.keypoint_heads.center_keypoint_head
import mmcell.models.keypoint_heads.keypoint_graph_head
import mmcell.models.keypoint_heads.keypoint_graph_mask_head
import mmcell.models.keypoint_heads.object_guided_mask_head
import mmcell.models.keypoint_heads.point_refine_head
import mmcell.models.losses.semantic_consistency
import mmcell.models.necks.u_shaped_decoder
import mmcell.models.roi_heads.background_fcn_mask_head
import mmcell.models.roi_heads.dual_modal_mask_head
import mmcell.models.roi_heads.mask_quality_head
import mmcell.models.roi_heads.mask_scoring_roi_head
import mmcell.models.roi_heads.panoptic_roi_head
import mmcell.models.roi_heads.point_rend_roi_head
import mmcell.models.roi_heads.roi_masks_roi_head
import mmcell.models.semantic_heads.gcn_semantic_head
import mmcell.models.semantic_heads.panoptic_fpn_semantic_head
import mmcell.models.semantic_heads.raff
import mmcell.visualization.cell_visualizer
import mmcell.visualization.visualization_hook  # noqa: F401
