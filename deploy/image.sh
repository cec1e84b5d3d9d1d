#!/bin/sh
# What is done in the image of a worker (Dockerfile): image.sh [EXTRAS]. PYTHON names another interpreter than the image's.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
pip="$python -m pip install --disable-pip-version-check --no-input --no-cache-dir --progress-bar off -c constraints.txt"

$pip setuptools  # first, so that the next step builds with the pinned one
$pip --no-build-isolation ".[${1:-gcp,heif}]"
"$python" -P -m weights  # beside the installed modules, each checked by its sha256
"$python" -P -c 'import apache_beam.version as beam, pipeline.cli; assert beam.__version__ == "2.77.0", beam.__version__'
"$python" -m pip check
rm -rf build ./*.egg-info
