# Object-guided segmentation on the leaf segmentation challenge: one model, trained on all 810
# images of A1 to A4, as in table IV. Those of the validation are among them; the challenge scores
# others.
# For scores of your own: ann_file='annotations/train.json'.
_base_ = [
    '_base_/models/object_guided_r50.py',
    '_base_/datasets/lsc.py',
    '_base_/schedules/adam_object_guided.py',
    '_base_/default_runtime.py',
]

epoch = 810 // 4  # training images / batch
train_dataloader = dict(batch_size=4, dataset=dict(ann_file='annotations/all_train.json'))
train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)

# A center counts from the score on that the model gives it out at.
val_evaluator = [
    dict(type='CellMetric', scores=_base_.scores, score_threshold=0.3),
    _base_.val_evaluator[1],
]
test_evaluator = val_evaluator
