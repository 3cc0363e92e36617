# CornerNet on neural cells, the detection baseline of keypoint graph's table 2: boxes, no masks.
# Trained as object_guided_neural_cell.py.
_base_ = [
    '_base_/models/cornernet_hourglass104.py',
    '_base_/datasets/neural_cell.py',
    '_base_/schedules/adam_object_guided.py',
    '_base_/default_runtime.py',
]

epoch = 386 // 4  # training images / batch
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)

box_scores = ['box_ap', 'box_ap50', 'box_ap70', 'box_ap75']
val_evaluator = [dict(type='CellMetric', scores=box_scores)]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='cell/box_ap_pooled'))
