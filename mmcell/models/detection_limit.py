"""Limits of detections are reported where they may have cost objects."""

from __future__ import annotations

import logging

from mmengine.logging import print_log


def warn_at_limit(num_detections: int, limit: int, key: str, img_meta: dict) -> None:
    """Warn if an image file has as many detections as the limit lets through.

    Windows of an image have no file: who predicts them watches the limits (``LimitWatch``).

    Args:
        num_detections: of this image.
        limit: the largest number; not positive means no limit.
        key: where the limit stands in a config.
        img_meta: meta information of the image; ``img_path`` names its file.
    """
    path = img_meta.get('img_path')
    if path and 0 < limit <= num_detections:
        print_log(
            f'{path}: {num_detections} detections reach the limit {key}; raise it, objects may be '
            'missing',
            'current',
            logging.WARNING,
        )
