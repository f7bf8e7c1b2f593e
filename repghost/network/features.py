"""Feature maps by timm's contract: `feature_info`, `out_indices` and `forward_intermediates`.

The map of a resolution is that of its last block, as in `repghost.detection.pyramid`; timm itself takes the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from repghost.errors import UsageError
from repghost.network.spec import NetworkShape

STAGES = {2: 0, 4: 2, 8: 4, 16: 6, 32: 8}  # stride -> the stage that ends its resolution


def feature_info_of(shape: NetworkShape) -> list[dict[str, Any]]:
    """Return channels, stride and module of each resolution, as timm's networks do."""
    return [
        {"num_chs": shape.stages[stage][-1].out_channels, "reduction": stride, "module": f"blocks.{stage}"}
        for stride, stage in STAGES.items()
    ]


def taken(indices: int | Sequence[int] | None) -> list[int]:
    """Return the resolutions that are meant, ascending.

    Args:
        indices: places among the five, of which -1 is the last; so many last ones; None: all.

    Raises:
        UsageError: for a place that is not there, or none.
    """
    count = len(STAGES)
    if isinstance(indices, int):
        indices = range(count - indices, count) if 0 < indices <= count else [count]
    places = [
        place + count if -count <= place < 0 else place for place in (range(count) if indices is None else indices)
    ]
    if not places or not all(0 <= place < count for place in places):
        raise UsageError(f"feature maps are counted from 0 to {count - 1}, of strides {list(STAGES)}, not {indices!r}.")
    return sorted(set(places))


class FeatureInfo:
    """What is known of chosen maps, with the methods of timm's class of that name."""

    def __init__(self, rows: list[dict[str, Any]], out_indices: Sequence[int]) -> None:
        self.out_indices = tuple(out_indices)
        self.info = [{**row, "index": place} for place, row in enumerate(rows)]

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.info[place]

    def __len__(self) -> int:
        return len(self.info)

    def get_dicts(
        self, keys: Sequence[str] | None = None, out_indices: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of the chosen maps, or of others, with all that is known or some of it."""
        rows = [self.info[place] for place in (self.out_indices if out_indices is None else out_indices)]
        return rows if keys is None else [{key: row[key] for key in keys} for row in rows]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the channels of the chosen maps, or of one, or of others."""
        return self._get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the strides of the chosen maps, or of one, or of others."""
        return self._get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the modules that make the chosen maps, or one, or others."""
        return self._get("module", idx)

    def _get(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[place][key] for place in (self.out_indices if idx is None else idx)]


class FeatureMaps(nn.Module):
    """Maps images [N, C, H, W] to a list of maps, the finest first, as timm's `features_only` does.

    Args:
        model: a RepGhostNet, whose stem and stages are shared; parameter names stay.
        out_indices: places among the strides 2, 4, 8, 16, 32.

    Raises:
        UsageError: for a place that is not there.
    """

    def __init__(self, model: Any, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        places = taken(out_indices)
        self.feature_info = FeatureInfo(model.feature_info, places)
        self._stages = [list(STAGES.values())[place] for place in places]
        self.conv_stem, self.bn1, self.act1 = model.conv_stem, model.bn1, model.act1
        self.blocks = model.blocks[: self._stages[-1] + 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        maps = []
        for stage, block in enumerate(self.blocks):
            x = block(x)
            if stage in self._stages:
                maps.append(x)
        return maps
