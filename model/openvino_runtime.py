"""OpenVINO without its telemetry: importing it would fork a process that reports to its makers, from every worker."""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # then it takes its own stub

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["ops", "ov"]
