# Object-guided segmentation with auxiliary feature refinement on neural cells.
_base_ = [
    '_base_/models/object_guided_r50.py',
    '_base_/datasets/neural_cell.py',
    '_base_/schedules/adam_object_guided.py',
    '_base_/default_runtime.py',
]

epoch = 386 // 4  # training images / batch
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)

# A center counts from the score on that the model gives it out at.
val_evaluator = [
    dict(type='CellMetric', scores=_base_.scores, score_threshold=0.3),
    _base_.val_evaluator[1],
]
test_evaluator = [
    dict(type='CellMetric', scores=_base_.scores, score_threshold=0.3),
    _base_.test_evaluator[1],
]
