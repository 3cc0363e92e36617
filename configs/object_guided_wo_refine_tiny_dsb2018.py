# Without auxiliary feature refinement, the rival of object_guided_tiny_dsb2018.py.
_base_ = './object_guided_tiny_dsb2018.py'

model = dict(point_head=None)
