"""JSON, plain or gzipped, with errors that name the file."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any


def load_json(path: Path) -> Any:
    """Parse a file, decompressed first where its name ends in ``.gz``.

    Raises:
        OSError: If it cannot be read or decompressed.
        ValueError: If it is not JSON; says where.
    """
    content = path.read_bytes()
    if path.suffix.lower() == '.gz':
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise OSError(f'{path}: cannot be decompressed: {error}') from error
    try:
        return json.loads(content)
    except ValueError as error:  # bytes that are no text, too
        raise ValueError(f'{path}: is not JSON: {error}') from error
