"""Training under quantization as a module, for a loop of one's own: prepare, train, convert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from calib.qat.branch_weights import BranchWeights
from calib.qat.convertible import check_convertible
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings
from calib.qat.train_aware import QatPlan, build_network
from calib.quantize import Source, describe_source, write_model
from calib.settings.policy import float_parts, no_float_layers
from repghost.api.networks.opened import with_facts
from repghost.api.quantized import QuantizedNetwork
from repghost.api.training.float_weights import branch_state, fused_state, module_state
from repghost.errors import UsageError

WRAPPED = ("module", "_orig_mod")  # what DistributedDataParallel, averages and torch.compile call what they wrap
OWN_LOOP = "a training loop of its own"  # what the file says was chosen


@dataclass(frozen=True, eq=False)
class _Origin:
    """What a module was prepared from; copies of the module share it."""

    quantized: QuantizedNetwork
    mode: str

    def __deepcopy__(self, memo: dict[int, Any]) -> _Origin:
        return self


class QatModule(QatNetwork):
    """A network under quantization as an ordinary module, from `prepare_qat`: float32 images in, logits out.

    All that changes is a parameter or a buffer, so `state_dict`, `.to(device)`, copies, averages (timm's `ModelEmaV3`,
    `torch.optim.swa_utils.AveragedModel`) and `DistributedDataParallel` carry everything. Quantizers compute in float32
    under autocast. `torch.compile` takes it as it is; with int16 depthwise layers, or with statistics that follow, the
    graph is broken where their numbers decide what is computed.
    """

    origin: _Origin

    def freeze_observers(self) -> None:
        """Make scales and zero points final; weights learn on, under the numbers that are written.

        What `torch.ao.quantization.disable_observer` is to its modules. Parameters of scales keep gradients, of 0.
        """
        super().freeze_observers()

    def freeze_statistics(self) -> None:
        """Make batch-norm statistics final, as torch's `freeze_bn_stats`; only mode "reparam" has any."""
        super().freeze_statistics()

    def float_state_dict(self, net: nn.Module | None = None) -> dict[str, Tensor]:
        """Return the trained float weights in the names of the network itself, which then loads them without us.

        Of a RepGhostNet: its own state in mode "reparam", that of its fused form in mode "fused". Of any other network:
        the state of `net`, whose batch norms are left with nothing but the bias to add.

        Args:
            net: the module that was quantized, unless it is a RepGhostNet; left as it is.

        Raises:
            UsageError: without `net`, or when a layer was put together of several modules of it.
        """
        if isinstance(self.source, BranchWeights):
            return branch_state(self.source)
        q, layers = self.origin.quantized, self.float_layers()
        if q.network.model is not None:
            return fused_state(q.network.model, layers)
        if net is None:
            raise UsageError("give the module that was quantized, whose names the weights get: float_state_dict(net).")
        return module_state(net, layers, q.preprocess.size, q.preprocess.channels)


def prepare_qat(q: QuantizedNetwork, mode: str = "fused", *, statistics_momentum: float = 0.0) -> QatModule:
    """Return a quantized network as a module to train in a loop of one's own; `convert` gives the int8 network back.

    It is in training mode, on the CPU, and begins with the integers of `q`. Batch norms are folded into the weights
    first ("fused"), as for inference; "reparam" keeps the branches of a RepGhostNet, whose fused kernel is quantized in
    every step. `module.parameter_groups()` gives an optimizer's groups with rates that suit each tensor.

    Args:
        q: from `repghost.quantize`; left as it is.
        mode: "fused", or "reparam" for a RepGhostNet that has its branches.
        statistics_momentum: share of a batch in the running batch-norm statistics ("reparam"); 0 keeps them.

    Returns:
        a module that takes float32 [N, C, H, W], normalized as `q.preprocess` says, and gives logits [N, classes].

    Raises:
        UsageError: for a mode that the network does not have, or layers that are left in float.
    """
    check_trainable(q, mode)
    graph, spec = q.quantized.graph, q.quantized.spec
    plan = QatPlan(q.config, QatSettings(mode=mode, statistics_momentum=statistics_momentum))
    network = build_network(q.network.model, q.network.graph, (graph, spec), q.calibration.images, q.preprocess, plan)
    network.__class__ = QatModule
    assert isinstance(network, QatModule)
    network.origin = _Origin(q, mode)
    with_facts(network, q.preprocess, q.network.labels)
    return network.train()


def convert(module: nn.Module) -> QuantizedNetwork:
    """Return the int8 network that a module from `prepare_qat` became; its integers are those it trained with.

    Args:
        module: as it is after training, on any device and in any mode, or what wraps it: `DistributedDataParallel`, an
            average of weights, `torch.compile`. Left as it is.

    Raises:
        UsageError: naming a layer whose weights are NaN, whose scale is 0 or whose accumulator could overflow.
    """
    core = _unwrapped(module)
    origin, (graph, spec) = core.origin, core.convert()
    check_convertible(graph, spec)
    q = origin.quantized
    record = {"training": {"algorithm": "qat", "mode": origin.mode, "chosen": OWN_LOOP}}
    description = describe_source(q.name, q.calibration.images, q.preprocess, source_of(q))
    written = write_model(graph, spec, q.config, description, record)
    return replace(q, quantized=written, trained=True, search=None)


def check_trainable(q: QuantizedNetwork, mode: str) -> None:
    """Refuse what is no quantized network, one with layers in float, and branches of one trained without them."""
    if not isinstance(q, QuantizedNetwork):
        raise UsageError(
            f"training under quantization begins with what repghost.quantize returns, not {type(q).__name__}."
        )
    kept = float_parts(q.quantized.graph, q.quantized.spec)
    if kept:
        raise UsageError(f"{', '.join(kept[:3])}: {no_float_layers()}")
    if q.trained and mode == "reparam":
        raise UsageError(
            "this network was trained under quantization already, and what it learned is not in its branches; use "
            "mode='fused'."
        )


def source_of(q: QuantizedNetwork) -> Source:
    """Return what the file says of weights, labels and images; the same that `repghost.quantize` wrote."""
    origin = q.calibration.origin
    return Source(q.labels, q.network.digest, {**origin, "broken": len(origin.get("broken", ()))}, q.network.detection)


def _unwrapped(module: nn.Module) -> QatModule:
    """Return the module of `prepare_qat` behind what wraps it."""
    found: Any = module
    while not isinstance(found, QatModule):
        found = next((part for name in WRAPPED if (part := getattr(found, name, None)) is not None), None)
        if not isinstance(found, nn.Module):
            raise UsageError(
                f"convert takes the module that repghost.prepare_qat returned, or what wraps it, not "
                f"{type(module).__name__}."
            )
    return found
