"""The graph: how many stages it fuses to, and that no pixel crosses from one to another."""

from __future__ import annotations

import threading

import apache_beam as beam
import pytest
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from model.engine import EngineConfig
from pipeline.graph import build_run
from pipeline.runners import beam_arguments
from transforms.manifest import ManifestFile
from transforms.output.run import RunInfo
from transforms.plan import PlanConfig
from transforms.process import ProcessPhotos
from transforms.saliency import PredictSaliency
from transforms.settings import RunSettings
from transforms.types import PlannedRow
from transforms.work import Held, Work
from weights.files import WeightsFile

ENGINE = EngineConfig(WeightsFile("u2netp", "/weights", "0" * 64), "cpu", "fp32")
RUN = RunInfo(RunSettings("/out", engine=ENGINE), "r")
PHOTO_STEPS = {"ProcessPhotos/Prepare", "ProcessPhotos/PredictSaliency/PredictBatch", "ProcessPhotos/Finish"}


def fused_stages(root: beam.Pipeline) -> list[set[str]]:
    """Fuse a graph as the local runner does; give the names of the transforms in each stage."""
    _, stages = FnApiRunner().create_stages(root.to_runner_api())
    return [{transform.unique_name for transform in stage.transforms} for stage in stages]


def stages_of_a_photo(stages: list[set[str]]) -> list[set[str]]:
    return [stage for stage in stages if stage & PHOTO_STEPS]


def run_graph() -> beam.Pipeline:
    root = beam.Pipeline(runner="FnApiRunner")
    build_run(root, [ManifestFile("/m.csv", "csv", "/")], PlanConfig(RUN.settings), RUN)
    return root


def test_a_photo_lives_and_dies_in_one_stage() -> None:
    stages = fused_stages(run_graph())
    assert len(stages) == 14
    (stage,) = stages_of_a_photo(stages)
    assert stage >= PHOTO_STEPS
    # What enters is rows by photo, what leaves is rows by shard: these are the stage's only borders.
    borders = {name for name in stage if "/Read" in name or "/Write" in name}
    assert borders == {"ProcessPhotos/GroupByPhoto/Read", "WriteReport/AddCarried/Write/0"}


def test_only_steps_inside_that_stage_handle_pixels() -> None:
    producers = {"ProcessPhotos/Prepare", "ProcessPhotos/PredictSaliency/PredictBatch"}  # the two that give a Work
    components = run_graph().to_runner_api().components
    pixels = {
        output
        for transform in components.transforms.values()
        if transform.unique_name in producers
        for output in transform.outputs.values()
    }
    consumers = {
        transform.unique_name
        for transform in components.transforms.values()
        if set(transform.inputs.values()) & pixels and not transform.subtransforms
    }
    assert consumers <= PHOTO_STEPS


def test_a_photo_that_is_brought_to_a_stage_boundary_stops_the_run() -> None:
    work = Work((PlannedRow("a", "u", "s"),), held=Held(b"12345"))
    assert coders.registry.get_coder(Work).estimate_size(work) == 5  # Beam's own would pickle it to find out
    root = beam.Pipeline(runner="FnApiRunner")
    works = root | beam.Create([1]) | beam.Map(lambda _: work).with_output_types(Work)
    _ = works | beam.Reshuffle()
    with pytest.raises(TypeError, match="never crosses a stage boundary"):
        root.run()


def test_a_hint_on_the_whole_keeps_the_stage_whole_and_one_inside_would_split_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def graph(hint_inside: bool) -> beam.Pipeline:
        root = beam.Pipeline(runner="FnApiRunner")
        process = ProcessPhotos(RUN)
        if hint_inside:

            def hinted(config: EngineConfig) -> beam.PTransform:
                return PredictSaliency(config).with_resource_hints(min_ram="8GB")

            with monkeypatch.context() as patch:
                patch.setattr("transforms.process.PredictSaliency", hinted)
                _ = root | beam.Create([]) | "ProcessPhotos" >> process
        else:
            _ = root | beam.Create([]) | "ProcessPhotos" >> process.with_resource_hints(min_ram="8GB")
        return root

    assert len(stages_of_a_photo(fused_stages(graph(hint_inside=False)))) == 1
    assert len(stages_of_a_photo(fused_stages(graph(hint_inside=True)))) == 3


MEETING = threading.Barrier(2)


def meet(number: int) -> int:
    """Wait for the other bundle, of this process; alone, fail."""
    MEETING.wait(timeout=20)
    return number


def test_local_workers_run_side_by_side_in_one_process() -> None:
    """Rows then pass from stage to stage as they are; in_memory would be of no use if Beam ran bundles in turn."""
    arguments = beam_arguments("local", ["--direct_num_workers=2"])
    assert "--direct_running_mode=in_memory" in arguments
    with beam.Pipeline(options=PipelineOptions(arguments)) as root:
        _ = root | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(meet)
