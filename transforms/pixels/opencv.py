"""OpenCV, held to the thread that calls it: the workers are what runs in parallel, one a core."""

from __future__ import annotations

from typing import Any

import cv2 as _cv2

cv2: Any = _cv2  # its annotations call every array "integer or floating"
cv2.setNumThreads(1)
cv2.ocl.setUseOpenCL(False)  # it would look for a graphics device, and its rounding would depend on it
