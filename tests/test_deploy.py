"""What deploy/ holds: each file read by a parser and held to the rules that matter, its command to the flags there are.

Neither Kubernetes, Flink's operator, Airflow nor Docker is at work here; docs/engines.md says what was tried by hand.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import sys
from typing import Any

import pytest
import yaml
from conftest import ROOT

DEPLOY = ROOT / "deploy"
FIELD = r"(\*|\d+)([-/,]\d+)*"
"""Of a time as cron has it."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


CRON_JOBS = [(name, d) for name in ("cronjob.yaml", "flink.yaml") for d in documents(name) if d["kind"] == "CronJob"]


def pod_of(cron_job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def crontab() -> list[tuple[list[str], str]]:
    """Give each line's five fields and its command."""
    lines = [line for line in (DEPLOY / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    return [(line.split()[:5], line.split(maxsplit=5)[5]) for line in lines]


def dag() -> dict[str, Any]:
    """Give the arguments of the operator in the DAG."""
    tree = ast.parse((DEPLOY / "airflow_dag.py").read_text())
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "BeamRunPythonPipelineOperator"
    )
    literal = [keyword for keyword in call.keywords if keyword.arg != "retry_delay"]
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in literal}


def commands() -> dict[str, list[str]]:
    """Give the words after run_pipeline.sh of each file's command."""
    found = {f"crontab {n}": shlex.split(re.split(r" >> ", line)[0])[1:] for n, (_, line) in enumerate(crontab())}
    found |= {name: pod_of(cron_job)["containers"][0]["args"] for name, cron_job in CRON_JOBS}
    operator = dag()
    options = [f"--{name}={value}" for name, value in operator["pipeline_options"].items()]
    return {**found, "airflow_dag.py": ["run", f"--runner={operator['runner']}", *options]}


@pytest.mark.pure
def test_a_crontab_has_times_and_mails_only_what_went_wrong() -> None:
    lines = crontab()
    assert len(lines) == 2
    for fields, command in lines:
        assert all(re.fullmatch(FIELD, field) for field in fields), fields
        assert re.search(r" >> /var/log/\S+ 2>&1 \|\| echo ", command)
        assert "%" not in command  # which cron takes for the end of the line


@pytest.mark.pure
@pytest.mark.parametrize(("name", "cron_job"), CRON_JOBS, ids=[name for name, _ in CRON_JOBS])
def test_a_cron_job_is_what_kubernetes_takes(name: str, cron_job: dict[str, Any]) -> None:
    spec, pod = cron_job["spec"], pod_of(cron_job)
    job = spec["jobTemplate"]["spec"]
    assert cron_job["apiVersion"] == "batch/v1"
    assert all(re.fullmatch(FIELD, field) for field in spec["schedule"].split())
    assert len(spec["schedule"].split()) == 5
    assert spec["concurrencyPolicy"] == "Forbid"
    assert pod["restartPolicy"] == "Never"  # which a podFailurePolicy demands
    for rule in job["podFailurePolicy"]["rules"]:
        assert rule["action"] in ("FailJob", "Ignore", "Count")
        assert len({"onExitCodes", "onPodConditions"} & set(rule)) == 1
        codes = rule.get("onExitCodes", {"operator": "In", "values": [1]})
        assert codes["operator"] in ("In", "NotIn")
        assert 0 not in codes["values"]
        assert codes.get("containerName", pod["containers"][0]["name"]) == pod["containers"][0]["name"]
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert {"name", "image"} <= set(container)
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    assert pod["containers"][0]["command"] == ["python", "-m", "pipeline"]


@pytest.mark.pure
def test_flinks_session_cluster_has_a_worker_pool_beside_each_task_manager() -> None:
    cluster, claim, cron_job = documents("flink.yaml")
    spec = cluster["spec"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("flink.apache.org/v1beta1", "FlinkDeployment")
    assert "job" not in spec  # that would be application mode
    assert all(isinstance(value, str) for value in spec["flinkConfiguration"].values())
    pool = spec["taskManager"]["podTemplate"]["spec"]
    main, workers = pool["containers"]
    assert main["name"] == "flink-main-container"
    assert workers["args"] == ["--worker_pool"]
    launcher, server = pod_of(cron_job)["containers"][0], pod_of(cron_job)["initContainers"][0]
    assert launcher["image"] == workers["image"]  # one code here and there
    arguments = dict(word.removeprefix("--").partition("=")[::2] for word in launcher["args"] + server["args"])
    assert arguments["flink_master"] == arguments["flink-master"] == f"{cluster['metadata']['name']}-rest:8081"
    minor = spec["flinkVersion"].removeprefix("v").replace("_", ".")
    assert spec["image"] == f"flink:{minor}"
    assert f"beam_flink{minor}_job_server" in server["image"]
    mounts = [one["volumeMounts"][0]["mountPath"] for one in (main, server)]
    assert mounts == [arguments["artifacts-dir"]] * 2
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.pure
def test_the_dag_is_python_and_names_files_that_are_there() -> None:
    operator = dag()
    assert {"task_id", "py_file", "py_interpreter", "runner", "pipeline_options"} <= set(operator)
    installed = operator["py_file"].removeprefix("/srv/whitesweep/")
    assert (ROOT / installed).is_file()


@pytest.mark.parametrize("name", list(commands()))
def test_each_calls_a_command_that_there_is(name: str) -> None:
    from pipeline.flags import make_parser
    from transforms.beam_faults import unknown_flags

    flags, others = make_parser().parse_known_args(commands()[name])
    assert flags.command in ("run", "verify")
    assert unknown_flags(others) == []


def test_what_airflow_and_templates_start_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        started.append(list(arguments))
        return 7

    monkeypatch.setattr("pipeline.cli.main", main)
    monkeypatch.setattr("transforms.beam_faults.leave", sys.exit)
    monkeypatch.setattr(sys, "argv", ["start.py", "--output=out", "--review=true", "--force=false"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(DEPLOY / "start.py"), run_name="__main__")
    assert ended.value.code == 7
    assert started == [["run", "--output=out", "--review"]]


# The image


@pytest.mark.pure
def test_the_image_is_made_of_what_is_there_and_by_one_script() -> None:
    lines = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert {word for word, _ in steps} <= {"ARG", "FROM", "ENV", "COPY", "RUN"}
    assert [rest for word, rest in steps if word == "RUN"] == ['sh /opt/whitesweep/deploy/image.sh "${EXTRAS}"']
    beam = re.search(r"^apache-beam==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert beam
    assert f"BASE=apache/beam_python3.11_sdk:{beam[1]}" in [rest for word, rest in steps if word == "ARG"]
    assert beam[1] in (DEPLOY / "image.sh").read_text()
    (entry,) = (rest.partition("=")[2] for _, rest in steps if rest.startswith("FLEX_TEMPLATE_PYTHON_PY_FILE="))
    assert (ROOT / entry.removeprefix("/opt/whitesweep/")).is_file()


@pytest.mark.pure
def test_the_image_gets_all_that_is_installed_and_no_weights_of_this_folder() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    taken = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert all((ROOT / name).exists() for name in taken)
    packages = re.search(r"include=\[([^\]]*)\]", (ROOT / "setup.py").read_text())
    assert packages
    assert set(re.findall(r'"(\w+)"', packages[1])) <= taken
    assert {"weights/*.onnx", "weights/*.safetensors"} <= set(rules)


# The flex template

PARAMETER: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "label": (str,),
    "helpText": (str,),
    "isOptional": (bool,),
    "regexes": (list,),
    "paramType": (str,),
    "enumOptions": (list,),
    "defaultValue": (str,),
}
"""Fields and types, of ParameterMetadata in Google's API for Dataflow, v1b3: those of them that we use."""


def test_metadata_are_those_of_the_flags() -> None:
    from deploy.metadata import metadata

    assert json.loads((DEPLOY / "metadata.json").read_text()) == metadata()  # python deploy/metadata.py > …


@pytest.mark.pure
def test_metadata_are_as_dataflow_takes_them() -> None:
    found = json.loads((DEPLOY / "metadata.json").read_text())
    assert set(found) == {"name", "description", "streaming", "parameters"}
    names = [parameter["name"] for parameter in found["parameters"]]
    assert len(set(names)) == len(names)
    assert {p["name"] for p in found["parameters"] if not p["isOptional"]} == {
        *("manifest", "output", "sdk_container_image")
    }
    for parameter in found["parameters"]:
        assert {"name", "label", "helpText"} <= set(parameter) <= set(PARAMETER)
        assert all(isinstance(value, PARAMETER[key]) for key, value in parameter.items())
        assert re.fullmatch("[a-z_]+", parameter["name"])
        assert parameter.get("paramType", "TEXT") in ("TEXT", "BOOLEAN", "ENUM", "NUMBER")
        assert all(set(option) == {"value"} for option in parameter.get("enumOptions", []))
        for regex in parameter.get("regexes", []):
            assert re.fullmatch(regex, "gs://bucket/white")
            assert not re.fullmatch(regex, "/srv/white")


def test_metadata_are_what_googles_own_client_reads() -> None:
    dataflow = pytest.importorskip("google.cloud.dataflow_v1beta3", reason="needs the extra gcp")
    text = (DEPLOY / "metadata.json").read_text()
    assert dataflow.TemplateMetadata.from_json(text, ignore_unknown_fields=False).name == "whitesweep"
