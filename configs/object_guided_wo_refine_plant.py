# Object-guided segmentation on plant phenotyping: "Ours W.O. Refine" of table I.
_base_ = './object_guided_plant.py'

model = dict(point_head=None)
