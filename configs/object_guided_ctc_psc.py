# Object-guided segmentation on PhC-C2DL-PSC of the Cell Tracking Challenge: trained on the silver
# annotation of both videos, as in table III. The videos of validation and test are among them; the
# challenge scores others. For scores of your own: ann_file='annotations/train.json'.
_base_ = [
    '_base_/models/object_guided_r50.py',
    '_base_/datasets/ctc_psc.py',
    '_base_/schedules/adam_object_guided.py',
    '_base_/default_runtime.py',
]

epoch = 202 // 4  # training images / batch
train_dataloader = dict(batch_size=4, dataset=dict(ann_file='annotations/all_train.json'))
train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)

# A center counts from the score on that the model gives it out at.
val_evaluator = [
    dict(type='CellMetric', scores=_base_.scores, score_threshold=0.3),
    _base_.val_evaluator[1],
]
test_evaluator = dict(score_threshold=0.3)
