# PFFNet's table X, w/o: no mask quality sub-branch.
_base_ = '../pffnet_bbbc039.py'

model = dict(roi_head=dict(mask_quality_head=None))
