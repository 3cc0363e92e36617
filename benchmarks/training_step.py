"""What a step of training costs: configs in turns on the same batches, each against the first.

The batches are those of the first config's training data, which has to be in place. Divide the
iterations of the first config by the ratio, and another one trains for the same time.

    python benchmarks/training_step.py configs/{mask_rcnn,pffnet}_tiny_dsb2018.py --threads 1 \
        --cfg-options model.train_cfg.rcnn.sampler.num=64
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import Report, add_device, parse_options, where
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

import mmcell.plugin  # noqa: F401
from mmcell.engine.config import load_config
from mmcell.engine.memory import keep_freed_memory, keep_generated_kernels
from mmcell.engine.options import add_config_options

WARM_UP = 4


def some_batches(config: Config, number: int) -> list[dict]:
    """The first batches of a config's training data, shuffled with seed 0."""
    set_random_seed(0)  # crops and scales, too
    loader = config.train_dataloader
    loader.update(num_workers=0, persistent_workers=False)
    batches = iter(Runner.build_dataloader(loader, seed=0))
    return [next(batches) for _ in range(number)]


def training_step(config: Config, device: str) -> Callable[[dict], Any]:
    """A function that trains a new model of the config by one batch."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.to(device).train()
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    return lambda batch: model.train_step(copy.deepcopy(batch), optim_wrapper)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='config files, the baseline first')
    parser.add_argument('--batches', type=int, default=16, help='how many to time (default: 16)')
    add_config_options(parser, 'model.train_cfg.rcnn.sampler.num=64')
    add_device(parser)
    args, threads = parse_options(parser)
    keep_freed_memory()
    keep_generated_kernels()
    init_default_scope('mmdet')

    configs = [load_config(path, args.cfg_options) for path in args.configs]
    batches = some_batches(configs[0], args.batches)
    steps = [training_step(config, args.device) for config in configs]
    seconds = [0.0 for _ in steps]
    for batch in batches[:WARM_UP]:
        for step in steps:
            step(batch)
    for iteration, batch in enumerate(batches):
        # As Runner does: with semantic_interval not all iterations cost the same.
        MessageHub.get_current_instance().update_info('iter', iteration)
        for i, step in enumerate(steps):
            start = time.perf_counter()
            step(batch)
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            seconds[i] += (time.perf_counter() - start) / len(batches)

    report = Report(
        f'A training step, mean of {len(batches)} batches, {where(args.device, threads)}',
        *('config', 'milliseconds', 'of the first'),
    )
    for path, mean in zip(args.configs, seconds, strict=True):
        report.row(Path(path).stem, f'{1000 * mean:.0f}', f'{mean / seconds[0]:.2f}')
    report.finish()


if __name__ == '__main__':
    main()
