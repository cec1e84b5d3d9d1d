"""Every night by Airflow, with the operator of apache-airflow-providers-apache-beam.

The operator wants apache-airflow-providers-google too, wherever the run is. The project is installed at /srv/whitesweep
on Airflow's workers, in its own virtual environment: Airflow's packages and ours do not meet. Another runner needs only
other options: `dataflow` with project, region, temp_location and sdk_container_image.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator

with DAG(
    "whitesweep",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,  # a night that was missed is made up for by the next
    max_active_runs=1,
):
    BeamRunPythonPipelineOperator(
        task_id="run",
        py_interpreter="/srv/whitesweep/.venv/bin/python",
        py_options=["-P"],
        py_file="/srv/whitesweep/deploy/start.py",
        runner="local",  # or flink, dataflow, dataflow-gpu
        pipeline_options={
            "manifest": "gs://bucket/catalog.parquet",
            "output": "gs://bucket/white",
            "policy": "gs://bucket/policy.toml",
        },
        retries=2,  # at every exit code but 0; the same command goes on where it stopped
        retry_delay=timedelta(minutes=2),  # a killed run's lease is given up after one
    )
