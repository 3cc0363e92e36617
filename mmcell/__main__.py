"""``python -m mmcell``: the command ``mmcell``."""

import sys

if sys.argv[1:] == ['doctor']:  # also answers where click is missing
    from mmcell.doctor import main
else:
    from mmcell.cli import main

sys.exit(main())
