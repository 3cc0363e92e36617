"""Compare methods: ``python tools/compare.py work_dirs/a/test work_dirs/b/test``."""

from mmcell.evaluation.compare_cli import compare

if __name__ == '__main__':
    compare()
