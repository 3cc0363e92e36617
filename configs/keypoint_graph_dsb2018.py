# Keypoint graph on DSB2018, four scales: the paper's "multi-scale dec" and "seg branch".
_base_ = [
    '_base_/models/keypoint_graph_r50.py',
    '_base_/datasets/dsb2018_512.py',
    '_base_/schedules/adam_keypoint_graph.py',
    '_base_/default_runtime.py',
]

epoch = 402 // 2  # images of the paper's training list, in batches of two

train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)
train_dataloader = dict(dataset=dict(pipeline={{_base_.expanding_pipeline}}))
