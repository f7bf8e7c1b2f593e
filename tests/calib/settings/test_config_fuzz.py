"""Any part of a quantization config or of a preprocessing changed: it is read, or refused with a sentence."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from calib.settings.config import config_from_json, default_config
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.untrusted import parse_json
from tests.support.odd_values import changed_json

CONFIG = {**default_config().to_dict(), "layers": {"blocks.*": {"observer": "min_max", "percentile": 99}, "x": None}}
QUICK = settings(max_examples=300, deadline=None, derandomize=True)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_a_changed_config_is_read_or_refused(seed: int) -> None:
    try:
        config = config_from_json(json.dumps(changed_json(CONFIG, seed)))
        config.settings("blocks.1"), config.stays_float("x")
        assert config_from_json(config.to_json()) == config
    except UsageError as error:
        assert str(error)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_a_changed_preprocess_is_read_or_refused(seed: int) -> None:
    try:
        text = json.dumps(changed_json(Preprocess().to_dict(), seed))
        preprocess = Preprocess.from_dict(parse_json(text, "it"))
        assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
        preprocess.table()
    except UsageError as error:
        assert str(error)
