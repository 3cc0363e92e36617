"""What was found, as files that other tools read."""

from mmcell.inference.writers.opening import (
    Writers,
    check_names,
    format_of,
    open_files,
    open_writers,
    output_paths,
)

__all__ = [
    'Writers',
    'check_names',
    'format_of',
    'open_files',
    'open_writers',
    'output_paths',
]
