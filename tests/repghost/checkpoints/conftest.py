from tests.support.hub_mirror import mirror

__all__ = ["mirror"]  # a fixture
