# 100 epochs, as in the paper of keypoint graph (MICCAI 2019). It names neither optimiser, learning
# rate nor batch size: these are those of object-guided (IEEE TMI 2021), by the same authors. The
# paper stops early by the validation loss; here the checkpoint with the best AJI is kept.
# A data set sets the iterations: train_cfg = dict(max_iters=100 * epoch, val_interval=5 * epoch)
train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1.25e-4),
    # Without norms in the decoder, the first steps may be large.
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)]
auto_scale_lr = dict(enable=False, base_batch_size=2)
