"""The name and version of every JSON document that one package writes and another reads."""

from __future__ import annotations

Format = tuple[str, int]  # name and version, as the document states them

ACCURACY: Format = ("repghost-accuracy", 2)
BASELINES: Format = ("repghost-baselines", 1)
BENCH: Format = ("repghost-bench", 1)
BOARD_LATENCY: Format = ("repghost-board-latency", 1)
BOARDS_MODEL: Format = ("repghost-boards-model", 1)
COUNT: Format = ("repghost-count", 2)
JETSON: Format = ("repghost-jetson", 1)
JETSON_CHECK: Format = ("repghost-jetson-check", 2)
NETWORKS: Format = ("repghost-networks", 1)
PEER_COUNTS: Format = ("repghost-peer-counts", 2)
PERFORMANCE: Format = ("repghost-performance", 1)
REPORT: Format = ("repghost-report", 1)
SUBMISSION: Format = ("repghost-board-submission", 1)
WEB: Format = ("repghost-web", 1)
