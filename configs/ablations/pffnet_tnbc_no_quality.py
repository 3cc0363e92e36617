# PFFNet's table X, w/o: no mask quality sub-branch.
_base_ = '../pffnet_tnbc.py'

model = dict(roi_head=dict(mask_quality_head=None))
