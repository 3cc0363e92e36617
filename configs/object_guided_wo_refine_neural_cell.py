# Object-guided segmentation on neural cells: "Ours W.O. Refine" of table I.
_base_ = './object_guided_neural_cell.py'

model = dict(point_head=None)
