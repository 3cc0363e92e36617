# Table II: heavily biased, k = 10, beta = 0.75.
_base_ = '../object_guided_dsb2018.py'

model = dict(point_head=dict(oversample=10, keep=0.75))
