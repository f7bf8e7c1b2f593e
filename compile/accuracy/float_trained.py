"""The float network trained on with the images, the loss and the rates of training under quantization.

Training under quantization also learns from labels, so a network that was not trained to convergence can become better
than its float form. This trains the float network in the same way: what still differs is due to quantization.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import numpy as np
import torch

from calib.qat.data import TrainingFeed, split_images
from calib.qat.loop import AdamRun, adam
from calib.qat.weights import relative_groups
from compile.accuracy.methods import FloatTrained
from compile.accuracy.network import SEED, Network
from compile.accuracy.row import Row, keep_row
from compile.storage.measurements import Measurements
from repghost.evaluation.accuracy import predict
from repghost.training.follow.hooks import Hooks
from repghost.training.loop import Loop
from repghost.training.losses import as_teacher
from repghost.training.options import Options
from repghost.training.state.state import Progress

CPU = torch.device("cpu")


def measure_float_trained(network: Network, quantizer: FloatTrained, store: Measurements) -> Row:
    """Return the predictions of the fused float network after that training.

    Raises:
        RepGhostError: when training diverges.
    """
    key = {**network.key(), **quantizer.key(), "test": network.test_digest, "seed": SEED}
    return keep_row(store, "float_trained", key, lambda: _train(network, quantizer))


def _train(network: Network, quantizer: FloatTrained) -> Row:
    subject, dataset = network.subject, network.training_set
    schedule = replace(quantizer.settings.schedule, observe=len(subject.calibration.labels))
    settings = replace(quantizer.settings, schedule=schedule, seed=SEED)
    feed = TrainingFeed(dataset, split_images(dataset.labels, settings).training, subject.preprocess, settings)
    teacher = as_teacher(copy.deepcopy(network.subject.fused), CPU) if settings.distillation > 0 else None
    begun, model = time.process_time(), copy.deepcopy(network.subject.fused).requires_grad_(True)
    model.to(memory_format=torch.channels_last)
    optimizer = adam(relative_groups(([parameter] for parameter in model.parameters()), settings.learning_rate))
    run = AdamRun(model, optimizer, settings, feed.steps_per_epoch, teacher)
    loop = Loop(run, feed, Hooks(), Options(), lambda progress: None)
    for epoch in range(settings.epochs):
        loop.train(epoch, Progress())
    logits = predict(model, network.test.images, subject.preprocess)
    return Row(logits.argmax(1).astype(np.int64), {"seconds": time.process_time() - begun})
