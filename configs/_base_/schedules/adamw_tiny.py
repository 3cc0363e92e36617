# For small networks trained from scratch on two CPU cores. The decay ends where the training ends,
# so a longer or shorter run changes one place: train_cfg = dict(max_iters=...)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=8000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    # Where processors have bfloat16: 29 % less time for Mask R-CNN's steps, 19 % for PFFNet's
    # (benchmarks/training_step.py, with and without optim_wrapper.type=OptimWrapper).
    type='BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200),
    # From the start, times the warm-up, so that a run shorter than the warm-up is legal.
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, eta_min=1e-6),
]
auto_scale_lr = dict(enable=False, base_batch_size=2)
