# PointRend with group norm on DSB2018, trained as pffnet_dsb2018.py.
_base_ = [
    '_base_/models/point_rend_r101_gn.py',
    '_base_/datasets/dsb2018.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=1)
