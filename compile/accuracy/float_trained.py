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
from calib.qat.loop import adam, prepare_teacher, set_rates, training_step
from calib.qat.weights import relative_groups
from compile.accuracy.methods import FloatTrained
from compile.accuracy.network import SEED, Network
from compile.accuracy.row import Row, keep_row
from compile.storage.measurements import Measurements
from repghost.errors import RepGhostError
from repghost.evaluation.accuracy import predict


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
    teacher = prepare_teacher(copy.deepcopy(network.subject.fused), settings)
    begun, model = time.process_time(), copy.deepcopy(network.subject.fused).requires_grad_(True)
    model.to(memory_format=torch.channels_last)
    optimizer = adam(relative_groups(([parameter] for parameter in model.parameters()), settings.learning_rate))
    total, number = settings.epochs * feed.steps_per_epoch, 0
    for epoch in range(settings.epochs):
        for images, labels in feed.batches(epoch):
            set_rates(optimizer, number, total)
            if not np.isfinite(training_step(model, teacher, optimizer, images, labels, settings)):
                raise RepGhostError(f"the loss of the float network was not finite in step {number + 1} of {total}.")
            number += 1
    logits = predict(model, network.test.images, subject.preprocess)
    return Row(logits.argmax(1).astype(np.int64), {"seconds": time.process_time() - begun})
