"""Find the boxes of objects by their corners and centers, on several scales."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.functional.keypoint_graph import (
    DISC_RADIUS_PX,
    DUPLICATE_RADIUS_PX,
    EDGES,
    MATCH_RADIUS_PX,
    NUM_TYPES,
    PEAK_THRESHOLD,
    GraphBoxes,
    Keypoints,
    boxes_from_keypoints,
    find_keypoints,
    group_keypoints,
    hough_vote,
    perfect_score,
    smooth_votes,
)
from mmcell.functional.keypoint_graph_targets import (
    MIN_SIDE_PX,
    GraphTargets,
    multi_scale_targets,
)
from mmcell.models.dense_nms import dense_nms
from mmcell.models.detection_limit import warn_at_limit
from mmcell.models.finite_maps import check_finite_maps

# A pixel is on a disc with this probability before training, as in CenterNet.
PRIOR = 0.1

_MAX_KEYPOINTS = 'model.test_cfg.max_keypoints'


class GraphMaps(NamedTuple):
    """What the head predicts on one scale.

    Attributes:
        heatmap_logits: (B, 5, H, W), whether a pixel is on the disc around a keypoint.
        short_offsets: (B, 10, H, W), ways to the keypoint, in pixels of the scale.
        mid_offsets: (B, 40, H, W), ways along the edges to the other keypoints.
    """

    heatmap_logits: Tensor
    short_offsets: Tensor
    mid_offsets: Tensor


class _ScaleHead(nn.Module):
    """Three times two convolutions on the features of one scale."""

    def __init__(self, in_channels: int, feat_channels: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2

        def convs(out_channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(in_channels, feat_channels, kernel_size, padding=padding),
                nn.ReLU(inplace=True),
                nn.Conv2d(feat_channels, out_channels, kernel_size, padding=padding),
            )

        self.heatmaps = convs(NUM_TYPES)
        self.short_offsets = convs(2 * NUM_TYPES)
        self.mid_offsets = convs(2 * len(EDGES))
        for branch in (self.heatmaps, self.short_offsets, self.mid_offsets):
            nn.init.kaiming_normal_(branch[0].weight, nonlinearity='relu')
            nn.init.normal_(branch[2].weight, std=0.01)
            nn.init.zeros_(branch[0].bias)
            nn.init.zeros_(branch[2].bias)
        prior = torch.tensor(PRIOR)
        nn.init.constant_(self.heatmaps[2].bias, float(torch.logit(prior)))

    def forward(self, features: Tensor) -> GraphMaps:
        # Predicted in disc radii: what layers give at first is then of the size of the offsets.
        return GraphMaps(
            self.heatmaps(features),
            self.short_offsets(features) * DISC_RADIUS_PX,
            self.mid_offsets(features) * DISC_RADIUS_PX,
        )


@MODELS.register_module()
class KeypointGraphHead(BaseModule):
    """Heatmaps, short and group offsets of five keypoints, and the boxes that follow from them.

    Objects are of one class. ``test_cfg`` has the settings of decoding:

    - ``peak_threshold``, ``match_radius_px``, ``duplicate_radius_px``: see
      :func:`~mmcell.functional.keypoint_graph.find_keypoints` and ``group_keypoints``; the defaults
      are the paper's and its program's.
    - ``nms_iou``: a box is dropped if its IoU with a better one of any scale is > this (0.5).
    - ``score_thr``: boxes with a score below this are dropped (0).
    - ``max_keypoints`` of an image and scale, and ``max_per_img`` boxes of an image; the best ones
      stay, and a limit that is reached is reported. 0 is no limit.

    Args:
        in_channels: channels of the decoder's levels, finest first; level l is reduced by 2^l.
        scales: levels that keypoints are found on; (0,) is the paper's single-scale detector.
        feat_channels: channels between the convolutions; None is as many as the level has.
        kernel_size: of all convolutions (the authors' program: 7).
        min_side_px: objects with a side below this on a scale are not looked for there (the
            authors' program: 13).
        heatmap_weight, short_weight, mid_weight: weights of the losses.
        train_cfg: not used; MMDetection's detectors hand it over.
        test_cfg: see above.
        init_cfg: MMEngine initialisation.

    Raises:
        ValueError: If ``scales`` names levels that are not there.

    Source: Yi et al., MICCAI 2019, 2.1. The paper gives neither weights of the losses nor what they
    are averaged over: here over all pixels, or those on discs.
    """

    num_classes = 1

    def __init__(
        self,
        in_channels: Sequence[int],
        scales: Sequence[int] = (0, 1, 2, 3),
        feat_channels: int | None = None,
        kernel_size: int = 7,
        min_side_px: int = MIN_SIDE_PX,
        heatmap_weight: float = 1.0,
        short_weight: float = 1.0,
        mid_weight: float = 1.0,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not scales or not set(scales) <= set(range(len(in_channels))):
            raise ValueError(
                f'scales must be some of the levels 0 to {len(in_channels) - 1}, got {scales}'
            )
        self.scales = tuple(sorted(set(scales)))
        self.min_side_px = min_side_px
        self.weights = (heatmap_weight, short_weight, mid_weight)
        self.test_cfg = test_cfg or {}
        self.heads = nn.ModuleList(
            _ScaleHead(in_channels[k], feat_channels or in_channels[k], kernel_size)
            for k in self.scales
        )

    def forward(self, features: Sequence[Tensor]) -> list[GraphMaps]:
        """Levels of the decoder, finest first, to the maps of each scale."""
        return [head(features[k]) for k, head in zip(self.scales, self.heads, strict=True)]

    def loss(
        self, features: Sequence[Tensor], label_maps: Tensor, ignored: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of every scale.

        Args:
            features: levels of the decoder, finest first.
            label_maps: (B, H, W) integers at the size of level 0; 0 is background.
            ignored: (B, H, W) bool, pixels that are no background, such as those of crowds.

        Returns:
            ``loss_heatmap_s1`` (binary cross entropy), ``loss_short_offsets_s1`` and
            ``loss_mid_offsets_s1`` (L1 in pixels, on the discs) and so on: s1 is level 0, as in the
            paper.
        """
        targets = multi_scale_targets(label_maps, self.scales[-1] + 1, self.min_side_px)
        losses = {}
        for scale, maps in zip(self.scales, self(features), strict=True):
            step = 2**scale
            unknown = None if ignored is None else ignored[:, None, ::step, ::step]
            terms = graph_losses(maps, targets[scale], unknown)
            for name, term, weight in zip(maps._fields, terms, self.weights, strict=True):
                name = name.removesuffix('_logits')
                losses[f'loss_{name}_s{scale + 1}'] = weight * term
        if 0 not in self.scales:
            # The finer levels have no loss; other processes would wait for their gradients.
            losses[next(iter(losses))] += features[0].sum() * 0
        return losses

    def predict(self, features: Sequence[Tensor], img_metas: Sequence[dict]) -> list[InstanceData]:
        """Boxes of each image.

        Args:
            features: levels of the decoder, finest first.
            img_metas: ``img_shape`` of each image; what lies beyond is padding.

        Returns:
            ``bboxes`` (n, 4) in pixels of level 0, cut off at the image's border, ``scores`` (n,)
            in [0, 1], 1 for perfect maps, and ``labels`` (n,), all 0; the best first. Where an
            image has more keypoints than ``max_keypoints``, the meta information
            ``limits_reached`` is ('model.test_cfg.max_keypoints=<number>',).

        Raises:
            ValueError: If the network gives NaN or infinite values.
        """
        all_maps = self(features)
        # Votes in half precision have plateaus, each pixel of which would be a keypoint.
        with torch.autocast(all_maps[0].heatmap_logits.device.type, enabled=False):
            found, limited = zip(
                *(
                    self._boxes_of_scale(maps, scale, img_metas)
                    for scale, maps in zip(self.scales, all_maps, strict=True)
                ),
                strict=True,
            )
        boxes, scores, batch_index, _ = (torch.cat(part) for part in zip(*found, strict=True))
        results = [
            self._select(boxes[batch_index == image], scores[batch_index == image], meta)
            for image, meta in enumerate(img_metas)
        ]
        for image in set().union(*limited):
            reached = (f'{_MAX_KEYPOINTS}={self.test_cfg["max_keypoints"]}',)
            results[image].set_metainfo(dict(limits_reached=reached))
        return results

    def _boxes_of_scale(
        self, maps: GraphMaps, scale: int, img_metas: Sequence[dict]
    ) -> tuple[GraphBoxes, set[int]]:
        """Boxes, and the images that have more than ``max_keypoints``."""
        maps = GraphMaps(*(values.float() for values in maps))
        check_finite_maps(maps, img_metas)
        heatmaps = maps.heatmap_logits.sigmoid()
        for image, meta in enumerate(img_metas):
            height, width = (-(-side // 2**scale) for side in meta['img_shape'][:2])
            heatmaps[image, :, height:] = 0  # padding does not vote
            heatmaps[image, :, :, width:] = 0
        votes = smooth_votes(hough_vote(heatmaps, maps.short_offsets))
        keypoints = find_keypoints(votes, self.test_cfg.get('peak_threshold', PEAK_THRESHOLD))
        kept, limited = self._limit_keypoints(keypoints, img_metas)
        skeletons = group_keypoints(
            kept,
            maps.mid_offsets,
            self.test_cfg.get('match_radius_px', MATCH_RADIUS_PX),
            self.test_cfg.get('duplicate_radius_px', DUPLICATE_RADIUS_PX),
        )
        return boxes_from_keypoints(skeletons, 2**scale), limited

    def _limit_keypoints(
        self, keypoints: Keypoints, img_metas: Sequence[dict]
    ) -> tuple[Keypoints, set[int]]:
        """The best ``max_keypoints`` of each image, and the images that have more."""
        limit = self.test_cfg.get('max_keypoints', 0)
        counts = torch.bincount(keypoints.batch_index, minlength=len(img_metas)).tolist()
        limited = {image for image, count in enumerate(counts) if 0 < limit < count}
        if not limited:
            return keypoints, limited
        kept = []
        for image, (count, meta) in enumerate(zip(counts, img_metas, strict=True)):
            mine = torch.nonzero(keypoints.batch_index == image).flatten()
            if image in limited:
                if 'img_path' in meta:
                    print_log(
                        f'{meta["img_path"]}: {count} keypoints exceed the limit {_MAX_KEYPOINTS}; '
                        'raise it, objects may be missing',
                        'current',
                        logging.WARNING,
                    )
                best = keypoints.scores[mine].argsort(descending=True, stable=True)[:limit]
                mine = mine[best.sort().values]
            kept.append(mine)
        return Keypoints(*(field[torch.cat(kept)] for field in keypoints)), limited

    def _select(self, boxes: Tensor, scores: Tensor, img_meta: dict) -> InstanceData:
        """The boxes of an image that are left of those of all scales."""
        height, width = img_meta['img_shape'][:2]
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        scores = (scores / perfect_score()).clamp(max=1)
        present = (boxes[:, 2:] > boxes[:, :2]).all(1)
        present &= scores >= self.test_cfg.get('score_thr', 0)
        boxes, scores = boxes[present], scores[present]
        _, kept = dense_nms(boxes, scores, self.test_cfg.get('nms_iou', 0.5))
        limit = self.test_cfg.get('max_per_img', 0)
        if limit > 0:
            kept = kept[:limit]
        warn_at_limit(len(kept), limit, 'model.test_cfg.max_per_img', img_meta)
        return InstanceData(bboxes=boxes[kept], scores=scores[kept], labels=torch.zeros_like(kept))


def graph_losses(
    maps: GraphMaps, targets: GraphTargets, ignored: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of the heatmaps, the short and the mid offsets of one scale.

    Cross entropy is averaged over all pixels and types, without those that are ``ignored``, a bool
    (B, 1, H, W), and on no disc; L1 over the discs: there alone offsets mean anything. Without any
    disc it is 0.
    """
    logits, short, mid = (values.float() for values in maps)
    starts = torch.tensor(EDGES, device=logits.device)[:, 0]
    return (
        _cross_entropy(logits, targets.heatmaps, ignored),
        _disc_l1(short, targets.short_offsets, targets.heatmaps),
        _disc_l1(mid, targets.mid_offsets, targets.heatmaps[:, starts]),
    )


def _cross_entropy(logits: Tensor, heatmaps: Tensor, ignored: Tensor | None) -> Tensor:
    if ignored is None:
        return F.binary_cross_entropy_with_logits(logits, heatmaps)
    counted = (~ignored | (heatmaps == 1)).float()
    total = F.binary_cross_entropy_with_logits(logits, heatmaps, counted, reduction='sum')
    return total / counted.sum().clamp(min=1)


def _disc_l1(offsets: Tensor, targets: Tensor, discs: Tensor) -> Tensor:
    """Mean over the discs of (B, 2 N, H, W) offsets, where N discs (B, N, H, W) are 1."""
    weights = discs.repeat_interleave(2, dim=1)
    return ((offsets - targets).abs() * weights).sum() / weights.sum().clamp(min=1)
