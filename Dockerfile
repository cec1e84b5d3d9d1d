# The image of a worker, and of whoever hands jobs in: Beam's own, with the pinned packages, this project and the weights.
#
#   docker build -t whitesweep:1 .                                                  CPU workers
#   docker build -t whitesweep:1-gpu --build-arg EXTRAS=gcp,heif,torch .            GPU workers: CUDA comes with torch
#   docker build -t whitesweep:1-template --target template --build-arg LAUNCHER=…  a flex template, see docs/engines.md

ARG BASE=apache/beam_python3.11_sdk:2.77.0
ARG LAUNCHER=${BASE}

FROM ${BASE} AS worker
ARG EXTRAS=gcp,heif
# Modules come from what is installed; workers use it as it is, not through a virtual environment of their own; and
# google-cloud-storage asks for no bucket's metadata in the background.
ENV PYTHONSAFEPATH=1 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=True
COPY . /opt/whitesweep
RUN sh /opt/whitesweep/deploy/image.sh "${EXTRAS}"

FROM ${LAUNCHER} AS launcher

FROM worker AS template
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/whitesweep/deploy/start.py

# The last one is what is built without --target.
FROM worker
