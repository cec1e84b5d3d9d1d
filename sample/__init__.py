"""The sample catalog: product photos rendered by code, so that a stranger without photos sees the main job.

Shapes, surfaces and light belong here, and the manifest and true masks that go with them. It imports `storage` alone.
"""

from sample.writing import write_sample

__all__ = ["write_sample"]
