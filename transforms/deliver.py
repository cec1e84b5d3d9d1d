"""The end of a photo's way: its map and pictures are stored, and each of its rows gets its report row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from transforms import storage
from transforms.decisions import rule_of
from transforms.errors import NO_SUBJECT, Failure, FatalError, PhotoError, in_one_line
from transforms.output.lease import lease_watch
from transforms.output.maps import store_map
from transforms.output.naming import output_name
from transforms.output.pictures import OutputFile, Reason, look_at, remove_picture, write_picture
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow
from transforms.pixels.encode import ENCODINGS
from transforms.pixels.policy import Rule
from transforms.pixels.render import OutputSettings, render, settings_sha256
from transforms.pixels.types import Cutout
from transforms.steps import Effort, StepError, failure_of
from transforms.types import Outcome, PlannedRow
from transforms.work import Work


def finish(work: Work, info: RunInfo) -> Iterator[Outcome]:
    """Store the map, render, write each row's picture, then give its report row, the commit record.

    Raises:
        FatalError: no other photo would be delivered either.
    """
    failure, effort = work.failure, work.effort
    if failure is None and work.is_new_map and work.saliency is not None:
        try:
            lease_watch(info.folder, info.run_id).refuse_lost()
            with effort.step("maps"):
                store_map(info.settings.maps_folder, work.saliency)
            effort.counts["maps_written"] += 1
        except StepError as error:
            failure = error.failure
    cutouts: dict[Rule, Cutout] = {}  # rows of one photo mostly share their rule
    for row in work.rows:
        report = ReportRow(row.id, row.uri, row.category, row.attributes, status="failed")
        try:
            report = replace(_with_facts(report, work), decision=row.decision.word if row.decision else None)
            if failure is not None:
                outcome = _without_cutout(row, report, failure, info, effort)
            else:
                name, rule = rule_of(row, info.settings.pictures.policy, row.decision)
                served = _under(report, name, rule, info.settings.pictures)
                if rule.how.drops:
                    outcome = _drop(row, served, info, effort)
                else:
                    outcome = _deliver(row, served, rule, work, cutouts, info, effort)
        except FatalError:
            raise
        except Exception as error:
            outcome = _without_cutout(row, report, failure_of("render", error), info, effort)
        yield replace(outcome, row=_beside_before(outcome.row, row, info))
        effort = Effort()  # what the photo cost is counted once, however many rows name it


def _deliver(
    row: PlannedRow,
    report: ReportRow,
    rule: Rule,
    work: Work,
    cutouts: dict[Rule, Cutout],
    info: RunInfo,
    effort: Effort,
) -> Outcome:
    """Render under the rule that serves the row, unless another row had it done, and write the picture."""
    photo, saliency = work.photo, work.saliency
    assert photo is not None  # a photo without failure has been decoded and predicted
    assert saliency is not None or work.is_kept
    settings = info.settings.pictures
    if rule not in cutouts:
        cutouts[rule] = render(work.data, photo, saliency, rule, settings, effort.step)
    cutout = cutouts[rule]
    report = replace(report, threshold=cutout.threshold, statistics=cutout.statistics, mask_flags=cutout.mask_flags)
    if not cutout.data:
        _remove_all(row, info, effort, "no_subject")
        failure = Failure("threshold", "no_subject", NO_SUBJECT)
        return Outcome(_with_failure(report, failure), effort, failure)
    sha256 = hashlib.sha256(cutout.data).hexdigest()
    fingerprint = sha256 if info.settings.keeps_pictures else None
    output = output_name(report.id, ENCODINGS[cutout.format].extension, fingerprint)
    uri = f"{info.folder}/{output}"
    if storage.same_file(uri, row.source):
        raise StepError(Failure("write", "write_failed", f"{uri}: is the photo itself; use another --output"))
    # What is there decides, not what a report says of it: a run that was killed has written pictures of which no report
    # tells.
    with effort.step("write"):
        anew = info.settings.redo == "anew"
        if anew or output not in row.present or not storage.holds(uri, cutout.data):
            write_picture(info.folder, info.run_id, output, cutout.data, cutout.content_type)
            effort.counts["images_written"] += 1
    left = []
    for present in row.present:
        if present == output or info.settings.keeps_pictures:
            continue
        try:  # of another format, of which this is the successor
            with effort.step("write"):
                remove_picture(info.folder, info.run_id, present, "replaced")
            effort.counts["images_removed"] += 1
        except StepError:
            left.append(present)
    if cutout.violations is not None:
        report = replace(report, compliant=not cutout.violations, violations=cutout.violations)
    report = replace(report, status="processed")
    return Outcome(_with_picture(report, OutputFile(output, sha256, len(cutout.data))), effort, left=tuple(left))


def _under(report: ReportRow, name: str, rule: Rule, settings: OutputSettings) -> ReportRow:
    """Say in a report row which rule serves it."""
    return replace(
        report,
        policy_sha256=settings.policy.sha256(),
        rule=name,
        rule_sha256=rule.sha256(),
        settings_sha256=settings_sha256(rule, settings),
        method=rule.method,
        sharpen=rule.sharpen,
    )


def _drop(row: PlannedRow, report: ReportRow, info: RunInfo, effort: Effort) -> Outcome:
    """Give the report row of what is to have no picture."""
    _remove_all(row, info, effort, "dropped")
    return Outcome(replace(report, status="dropped"), effort)


def _remove_all(row: PlannedRow, info: RunInfo, effort: Effort, why: Reason) -> None:
    """Remove a row's pictures: under this policy none is to be seen. What another release names stays."""
    for present in () if info.settings.keeps_pictures else row.present:
        with effort.step("write"):
            remove_picture(info.folder, info.run_id, present, why)
        effort.counts["images_removed"] += 1


def _with_facts(report: ReportRow, work: Work) -> ReportRow:
    """Say in a report row all that is known by now, so that a later failure still says where its map is."""
    if work.source_sha256 is not None:
        report = replace(
            report,
            source_version=work.source_version,
            source_sha256=work.source_sha256,
            source_bytes=len(work.data),
        )
    if work.photo is not None:
        width, height = work.photo.size
        report = replace(report, source_format=work.photo.format, width=width, height=height)
    if work.saliency is not None and work.origin is not None:
        report = replace(
            report,
            map_key=work.saliency.key,
            model=work.origin.model,
            weights_sha256=work.origin.weights_sha256,
            precision=work.origin.precision,
        )
    return report


def _without_cutout(row: PlannedRow, report: ReportRow, failure: Failure, info: RunInfo, effort: Effort) -> Outcome:
    """Fail the row of a photo that could not be finished. What pictures it has stay, and it names one of them.

    (A night on which photos cannot be read must not take the shop's pictures down, whoever wrote them.)
    """
    report = _with_failure(report, failure)
    vouched = row.earlier.output if row.earlier is not None else None
    first = vouched.name if vouched is not None else ""
    left = sorted(row.present, key=lambda name: (name != first, name))
    if info.settings.keeps_pictures:
        left = [name for name in left if name == first]
    for name in left:
        try:
            picture = look_at(info.folder, name)
        except PhotoError:
            if vouched is None or name != vouched.name:
                continue
            picture = vouched  # which cannot be read just now, and is not given up for that
        left.remove(name)
        return Outcome(_with_picture(report, picture), effort, failure, tuple(left))
    return Outcome(report, effort, failure, tuple(left))


def _beside_before(report: ReportRow, row: PlannedRow, info: RunInfo) -> ReportRow:
    """Say what differs from the report before: the picture, and since when the row fails."""
    earlier = row.earlier
    before = None if earlier is None or earlier.output is None else earlier.output.sha256
    since = None
    if report.status == "failed":
        since = (earlier.failing_since if earlier is not None and earlier.code is not None else None) or info.since
    changed = report.output_sha256 != before
    return replace(report, picture_changed=changed, failing_since=since)


def _with_failure(report: ReportRow, failure: Failure) -> ReportRow:
    message = in_one_line(failure.message)
    return replace(report, status="failed", stage=failure.stage, code=failure.code, message=message)


def _with_picture(report: ReportRow, picture: OutputFile) -> ReportRow:
    return replace(report, output_uri=picture.name, output_sha256=picture.sha256, output_bytes=picture.bytes)
