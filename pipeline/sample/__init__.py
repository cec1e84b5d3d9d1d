"""The sample catalog: product photos rendered by code, so that a stranger without photos sees the main job."""

from pipeline.sample.writing import write_sample

__all__ = ["write_sample"]
