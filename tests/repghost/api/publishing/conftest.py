from tests.support.hub_mirror import hub

__all__ = ["hub"]  # a fixture
