from tests.support.jetson_runs import runs

__all__ = ["runs"]  # a fixture
