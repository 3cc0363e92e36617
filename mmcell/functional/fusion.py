"""Fuse the masks of all instances of an image into its semantic logits, in one ragged pass."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcell.functional.ragged import pixel_boxes, resample_into_boxes, similar_size_batches

FUSION_MODES = ('replacement', 'summation', 'attention', 'residual_attention')


def fuse_instance_masks(
    semantic_logits: Tensor,
    masks: Tensor,
    boxes: Tensor,
    mode: str = 'residual_attention',
    detach: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Fold one image's instance masks into its semantic logits, in list order.

    With F the semantic logits, M a mask resized bilinearly (half-pixel centres) to its box, and P
    the resized sigmoid of that mask, every box changes the pixels below it:

    ======================  ==============================================
    ``replacement``         F <- M (IJCAI 2019, eq. 2, with logits for
                            the binary mask there; the last box wins)
    ``summation``           F <- F + M
    ``attention``           F <- F * P
    ``residual_attention``  F <- F * (1 + P) (TIP 2021, Algorithm 1)
    ======================  ==============================================

    With weights, box i has ``w_i M`` for M, ``P ** w_i`` and ``(1 + P) ** w_i`` for the factors:
    boxes of one object whose weights sum to 1 count as one.

    Args:
        semantic_logits: (C, H, W), raw scores. Not modified.
        masks: (N, C, M, M), mask logits on the RoI grid; channel c acts on semantic class c.
        boxes: (N, 4), x1, y1, x2, y2 in pixels of ``semantic_logits``. Rounded outward to whole
            pixels; parts outside the image are cut off; empty boxes change nothing.
        mode: one of ``FUSION_MODES``.
        detach: cut the gradient to the masks, as the authors' code does. By default it flows: that
            the mask generator learns from the semantic task is the papers' stated purpose.
        weights: (N,) of each box, >= 0; all 1 if None. ``replacement`` does not use them.

    Returns:
        (C, H, W), a new tensor in float32 or the wider dtype of ``semantic_logits``.

    Raises:
        ValueError: If ``mode`` is unknown, shapes do not fit, or a box is not finite.

    Source: Liu et al., PFFNet, IEEE TIP 30 (2021) 2045-2059, Algorithm 1 and table IX; Liu et al.,
    Cell R-CNN V2, IJCAI 2019, eq. 2. The authors' code swaps box width and height when it pastes,
    and writes into its input; this does neither.
    """
    if mode not in FUSION_MODES:
        raise ValueError(f'mode must be one of {FUSION_MODES}, got {mode!r}')
    num_channels, height, width = semantic_logits.shape
    if masks.shape[:2] != (len(boxes), num_channels):
        raise ValueError(
            f'masks must be (N, C, M, M) with N = {len(boxes)} boxes and C = {num_channels} '
            f'semantic channels, got {tuple(masks.shape)}'
        )
    if weights is not None and weights.shape != (len(boxes),):
        raise ValueError(f'weights must be ({len(boxes)},), got {tuple(weights.shape)}')
    # Products over many boxes lose half precision's few digits: fuse in float32 under autocast.
    with torch.autocast(semantic_logits.device.type, enabled=False):
        logits = semantic_logits.to(torch.promote_types(semantic_logits.dtype, torch.float32))
        masks = (masks.detach() if detach else masks).to(logits.dtype)
        values = masks if mode in ('replacement', 'summation') else masks.sigmoid()
        whole, clipped = pixel_boxes(boxes.detach(), (height, width))
        batches = similar_size_batches(clipped)
        if not batches:
            return logits.clone()
        placed = [_place(values, whole, clipped, batch, (height, width)) for batch in batches]
        patches, flat, owner = (torch.cat(parts, dim=-1) for parts in zip(*placed, strict=True))
        shares = None if weights is None else weights.to(logits)[owner]
        fused = _combine(logits.flatten(1), patches, flat, owner, mode, shares)
    return fused.reshape(num_channels, height, width)


def _place(
    values: Tensor, whole: Tensor, clipped: Tensor, batch: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Resize one batch of masks and say where each value goes.

    Returns:
        ``patches`` (C, T); ``flat`` (T,) the pixel of each value, H * W for padding; and ``owner``
        (T,) the list position of its box.
    """
    height, width = image_size
    patches, x, y, inside = resample_into_boxes(
        values[batch], whole[batch], clipped[batch], replicate=True
    )
    flat = (y[:, :, None] * width + x[:, None, :]).where(inside, height * width)
    owner = batch[:, None, None].expand_as(flat)
    return patches.transpose(0, 1).flatten(1), flat.flatten(), owner.flatten()


def _combine(
    logits: Tensor,
    patches: Tensor,
    flat: Tensor,
    owner: Tensor,
    mode: str,
    shares: Tensor | None,
) -> Tensor:
    """Apply (C, T) ``patches`` at the pixels ``flat`` of (C, P) ``logits``; pixel P is no one's.

    ``shares`` (T,) are the weights of the patches' boxes, None if all are 1.
    """
    num_channels, num_pixels = logits.shape
    if mode == 'replacement':
        # The last box in the list owns a shared pixel.
        last = owner.new_full((num_pixels + 1,), -1).scatter_reduce(0, flat, owner, 'amax')
        wins = torch.nonzero((last[flat] == owner) & (flat < num_pixels)).flatten()
        return logits.index_copy(1, flat[wins], patches[:, wins])

    def add_up(addends: Tensor) -> Tensor:
        if shares is not None:
            addends = addends * shares
        sums = addends.new_zeros(num_channels, num_pixels + 1)
        return sums.index_add(1, flat, addends)[:, :-1]

    if mode == 'summation':
        return logits + add_up(patches)
    # Multiplication commutes: the product over the boxes above a pixel is the exponential of a sum
    # of logarithms. The clamp keeps the logarithm of a saturated sigmoid finite.
    smallest = torch.finfo(patches.dtype).tiny
    logs = patches.log1p() if mode == 'residual_attention' else patches.clamp(min=smallest).log()
    return logits * add_up(logs).exp()
