"""Starts `run` where a scheduler wants a file of Python: Airflow's operator for Beam, and Dataflow's flex templates.

The flags are those of `run`. A template gives switches as `--review=true`.
"""

import runpy
import sys

if __name__ == "__main__":
    words = [word.removesuffix("=true") for word in sys.argv[1:] if not word.endswith("=false")]
    sys.argv[1:] = ["run", *words]
    runpy.run_module("pipeline", run_name="__main__")
