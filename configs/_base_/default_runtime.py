custom_imports = dict(imports=['mmcell.plugin'], allow_failed_imports=False)
default_scope = 'mmdet'

env_cfg = dict(
    cudnn_benchmark=False,
    # Data workers are forked and share the data set's memory; OpenCV's threads would only get in
    # each other's way there.
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # gloo is taken by the tools on machines without CUDA.
    dist_cfg=dict(backend='nccl'),
)
# A fixed seed: without one, a resumed run would draw its images in another order.
randomness = dict(seed=0, deterministic=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # Validations are logged under the iteration they were made at, so that curves line up.
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=500,
        save_best='cell/aji',
        rule='greater',
        save_last=True,
        # Two: MMEngine deletes the oldest before it writes the next.
        max_keep_ckpts=2,
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='CellVisualizationHook'),
    # Not custom_hooks: configs that set these would lose them.
    average_buffers=dict(type='AverageBuffersHook'),
    density_guard=dict(type='DensityGuardHook'),
    finite_loss=dict(type='FiniteLossHook'),
    curves=dict(type='CurvesHook'),
    progress_bar=dict(type='ProgressBarHook'),
)

visualizer = dict(type='CellVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
