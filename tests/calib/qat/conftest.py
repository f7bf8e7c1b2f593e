from tests.support.qat_command import data

__all__ = ["data"]  # a fixture
