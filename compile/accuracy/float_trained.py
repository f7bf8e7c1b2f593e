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
from calib.qat.loop import AdamRun, adam, qat_loss
from calib.qat.weights import relative_groups
from compile.accuracy.methods import FloatTrained
from compile.accuracy.network import SEED, Network
from compile.accuracy.row import Row, keep_row
from compile.storage.measurements import Measurements
from repghost.evaluation.accuracy import predict
from repghost.training.classify import Classes
from repghost.training.core.loop import Loop
from repghost.training.core.progress import Progress
from repghost.training.losses import as_teacher

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
    steps = feed.steps_per_epoch
    run = AdamRun(model=model, optimizer=optimizer, epochs=settings.epochs, steps_per_epoch=steps, settings=settings)
    loop = Loop(Classes(run, feed, qat_loss(settings, teacher)))
    for epoch in range(settings.epochs):
        loop.train(epoch, Progress())
    logits = predict(model, network.test.images, subject.preprocess)
    return Row(logits.argmax(1).astype(np.int64), {"seconds": time.process_time() - begun})
