# PFFNet on DSB2018, with the optimiser and the number of iterations that its paper has for Kumar.
_base_ = [
    '_base_/models/pffnet_r101_gn.py',
    '_base_/datasets/dsb2018.py',
    '_base_/schedules/sgd_paper.py',
    '_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=1)
