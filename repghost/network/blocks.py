"""The parts of a RepGhostNet; parameter names are those of upstream and of timm, so their files load as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repghost.errors import UsageError
from repghost.network.spec import BlockShape, Branches


def batch_norm_scale(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (scale, shift), float64 [C], with norm(x) = x * scale + shift in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def with_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution of the same kind that has a bias, with fresh values."""
    biased = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    return biased.train(conv.training)


def folded_convolution(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a copy of `conv` with a bias and the given float64 weight and bias, cast to the old weight's type."""
    folded = with_bias(conv)
    with torch.no_grad():
        folded.weight.copy_(weight)
        folded.bias.copy_(bias)  # type: ignore[union-attr]
    return folded


class VectorConv2d(nn.Conv2d):
    """1x1 convolution of a map of one position, [N, channels, 1, 1], as a matrix product while it trains.

    oneDNN's convolution of one position takes 4 to 12 times as long (PyTorch 2.14, AVX-512, batch 128). Evaluation
    stays a convolution, whose sums are those of the authors' code to the bit.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, 1, 1]."""
        if self.training:
            return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]
        return self._conv_forward(x, self.weight, self.bias)


class SqueezeExcite(nn.Module):
    """Channel gate: x * hard_sigmoid(expand(relu(reduce(mean(x)))))."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = VectorConv2d(channels, reduced)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_expand = VectorConv2d(reduced, channels)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated [N, C, H, W]."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(pooled))))


class ConvBnAct(nn.Module):
    """Pointwise convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H, W]."""
        return self.act1(self.bn1(self.conv(x)))


class RepGhostModule(nn.Module):
    """Pointwise convolution, then a depthwise 3x3 beside its training branches; one depthwise 3x3 once converted."""

    def __init__(self, in_channels: int, out_channels: int, relu: bool, branches: Branches, deploy: bool) -> None:
        super().__init__()
        self.primary_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True) if relu else nn.Identity(),
        )
        depthwise = nn.Conv2d(out_channels, out_channels, 3, 1, 1, groups=out_channels, bias=deploy)
        # A Sequential even when empty: TorchScript cannot hold a Python list of modules.
        self.fusion_bn = nn.Sequential()
        self.cheap_operation: nn.Module = depthwise
        if not deploy:
            self.cheap_operation = nn.Sequential(depthwise, nn.BatchNorm2d(out_channels))
            if branches in ("bn", "both"):
                self.fusion_bn.append(nn.BatchNorm2d(out_channels))
            if branches in ("identity", "both"):
                self.fusion_bn.append(nn.Identity())
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H, W]."""
        primary = self.primary_conv(x)
        y = self.cheap_operation(primary)
        for branch in self.fusion_bn:
            y = y + branch(primary)
        return self.relu(y)

    @torch.jit.unused
    def switch_to_deploy(self) -> None:
        """Fold the depthwise batch norm and every branch into one depthwise 3x3 convolution; twice is once."""
        if isinstance(self.cheap_operation, nn.Conv2d):
            return
        assert isinstance(self.cheap_operation, nn.Sequential)
        conv, norm = self.cheap_operation[0], self.cheap_operation[1]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        scale, shift = batch_norm_scale(norm)
        weight = conv.weight.detach().double() * scale.reshape(-1, 1, 1, 1)
        for branch in self.fusion_bn:
            # A branch sees the same input, so it is a 1x1 depthwise kernel: it adds to the centre tap.
            if isinstance(branch, nn.BatchNorm2d):
                branch_scale, branch_shift = batch_norm_scale(branch)
                weight[:, 0, 1, 1] += branch_scale
                shift = shift + branch_shift
            else:
                weight[:, 0, 1, 1] += 1.0
        self.cheap_operation = folded_convolution(conv, weight, shift)
        self.fusion_bn = nn.Sequential().train(self.training)


def refuse_training(model: nn.Module) -> None:
    """Raise UsageError when `model` is in training mode, where a batch norm has no fixed scale to fold."""
    if any(module.training for module in model.modules()):
        raise UsageError(
            "this model is in training mode, so its batch norms still change; only a model in evaluation mode can be "
            "converted. Call model.eval() first."
        )


class RepGhostBottleneck(nn.Module):
    """ghost1 -> [strided depthwise convolution] -> [squeeze-excite] -> ghost2, plus the shortcut."""

    def __init__(self, shape: BlockShape, shortcut: bool, branches: Branches, deploy: bool) -> None:
        super().__init__()
        k, mid = shape.kernel, shape.mid_channels
        self.ghost1 = RepGhostModule(shape.in_channels, mid, True, branches, deploy)
        self.conv_dw: nn.Conv2d | None = None
        self.bn_dw: nn.Module | None = None
        if shape.stride > 1:
            self.conv_dw = nn.Conv2d(mid, mid, k, shape.stride, k // 2, groups=mid, bias=False)
            self.bn_dw = nn.BatchNorm2d(mid)
        self.se = SqueezeExcite(mid, shape.se_channels) if shape.se_channels else None
        self.ghost2 = RepGhostModule(mid, shape.out_channels, False, branches, deploy)
        self.shortcut = _shortcut(shape, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, out_channels, H / stride, W / stride]."""
        y = self.ghost1(x)
        if self.conv_dw is not None and self.bn_dw is not None:
            y = self.bn_dw(self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        y = self.ghost2(y)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return y


def _shortcut(shape: BlockShape, enabled: bool) -> nn.Module | None:
    """Return the identity, the projection, or None; as upstream, switching shortcuts off spares the projections."""
    channels, k = shape.in_channels, shape.kernel
    if channels == shape.out_channels and shape.stride == 1:
        return nn.Identity() if enabled else None
    return nn.Sequential(
        nn.Conv2d(channels, channels, k, shape.stride, k // 2, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, shape.out_channels, 1, bias=False),
        nn.BatchNorm2d(shape.out_channels),
    )


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Return F.dropout of x, or x itself where nothing would be dropped."""
    return F.dropout(x, p=probability, training=training) if probability > 0.0 else x
