# Object-guided segmentation on DSB2018: "Ours W.O. Refine" of table I.
_base_ = './object_guided_dsb2018.py'

model = dict(point_head=None)
