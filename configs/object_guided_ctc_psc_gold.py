# PhC-C2DL-PSC, table III: the model of object_guided_ctc_psc.py, finetuned for 10 epochs on the
# four frames of gold annotation (with silver where there is none), at the first learning rate.
_base_ = './object_guided_ctc_psc.py'

load_from = 'work_dirs/object_guided_ctc_psc/iter_5000.pth'
train_dataloader = dict(dataset=dict(ann_file='annotations/all_gold_train.json'))
train_cfg = dict(max_iters=10, val_interval=10)
param_scheduler = []
