"""``sdflow verify``: whether the results that a job has recorded are there, unchanged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import structlog

from sdflow.driver.dataset_verification import open_dataset
from sdflow.driver.history import read_ledger
from sdflow.driver.lease import JobTakenError
from sdflow.driver.places import target_place
from sdflow.driver.presence import living_owner
from sdflow.driver.record import require_record
from sdflow.driver.recorder import Recorder, new_run_id, remove_below
from sdflow.driver.tenure import hold_job
from sdflow.driver.verification import Repair, verify_outputs
from sdflow.storage import keys
from sdflow.storage.location import open_store
from sdflow.work.index import scratch_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.driver.pair_contents import Problem
    from sdflow.driver.verification import Finding
    from sdflow.driver.verify_settings import VerifySettings
    from sdflow.storage.store import Store

    _Show = Callable[[dict[str, Any]], None]
    _Verify = Callable[[Store, VerifySettings, _Show, Repair | None], dict[str, int]]

_LONGEST_UPLOAD_S = 600.0  # of a worker that nobody has heard from; it gives up sooner
_log = structlog.get_logger()


def run(settings: VerifySettings, *, report: Callable[[str], None]) -> int:
    """Compare DST with the ledger; if asked to, let the next run repair it, and clean it.

    A dataset is compared with its index too, and its pairs are read.

    Args:
        settings: The command's.
        report: Given one line of JSON for every problem, and one with the counts at the end.

    Returns:
        Exit status: 3 if results are missing or changed, or pairs misaligned, else 0.

    Raises:
        UsageError: If DST is no address.
        StorageError: If there is no job, or it cannot be read.
        SdflowError: If it is to be repaired and a driver has it.
    """
    target = open_store(target_place(settings))
    is_dataset = require_record(target).parameters.get("task") == "degrade"
    verify = _verify_dataset if is_dataset else _verify

    def show(problem: dict[str, Any]) -> None:
        report(json.dumps(problem))

    if settings.repair or settings.clean:
        counts = _work(target, settings, verify, show)
    else:
        counts = _look(target, settings, verify, show)
    is_broken = any(counts.get(name) for name in ("missing", "changed", "misaligned"))
    counts["exit_status"] = 3 if is_broken else 0
    report(json.dumps(counts))
    return counts["exit_status"]


def _look(target: Store, settings: VerifySettings, verify: _Verify, show: _Show) -> dict[str, int]:
    owner = living_owner(target)
    if owner is not None:
        _log.warning(
            "the job is running: results that it has yet to record look like orphans",
            owner=str(owner.driver),
        )
    return verify(target, settings, show, None)


def _work(target: Store, settings: VerifySettings, verify: _Verify, show: _Show) -> dict[str, int]:
    with hold_job(target, join=False) as tenure, Recorder(target, run_id=new_run_id()) as recorder:
        if not tenure.is_alone:
            flag = "--repair" if settings.repair else "--clean"
            raise JobTakenError(
                f"drivers that have joined the job in {target.url} are alive: wait for their end, "
                f"or leave {flag} out",
                item=flag,
            )
        repair = Repair(recorder, tenure.check) if settings.repair else None
        counts = verify(target, settings, show, repair)
        if settings.clean:
            tenure.check()
            counts["scratch_removed"] = remove_below(target, keys.SCRATCH_PREFIX)
            counts["uploads_discarded"] = target.discard_uploads(older_than_s=_LONGEST_UPLOAD_S)
            if verify is _verify_dataset:
                with open_dataset(target) as dataset:
                    counts["pieces_removed"] = dataset.remove_pieces()
        return counts


def _verify(
    target: Store, settings: VerifySettings, show: _Show, repair: Repair | None
) -> dict[str, int]:
    with scratch_index(knows_outputs=True) as index:
        read_ledger(target, index)
        counts = verify_outputs(
            target,
            index,
            report=lambda finding: show(_problem(finding, repaired=settings.repair)),
            repair=repair,
        )
    if repair is not None:
        repair.finish()
    return {
        "whole": counts["whole"],
        "missing": counts["missing"],
        "changed": counts["changed"],
        "orphans": counts["orphan"],
        "superseded": counts["superseded"],
        "images_to_make_again": 0 if repair is None else repair.num_images,
    }


def _verify_dataset(
    target: Store, settings: VerifySettings, show: _Show, repair: Repair | None
) -> dict[str, int]:
    with open_dataset(target) as dataset:
        for problem in dataset.problems(repair=repair, quick=settings.quick):
            show(_pair_problem(problem))
        if repair is not None:
            repair.finish()
        counts = dataset.counts
        return {
            "whole": counts["whole"],
            "missing": counts["missing"],
            "changed": counts["changed"],
            "misaligned": counts["misaligned"],
            "orphans": counts["orphan"],
            "superseded": counts["superseded"],
            "unused_shards": counts["unused"],
            "pairs_read": counts["pairs_read"],
            "stale_pairs": counts["stale_pairs"],
            "unpublished_pieces": counts["unpublished"],
            "images_to_make_again": 0 if repair is None else repair.num_images,
        }


def _problem(finding: Finding, *, repaired: bool) -> dict[str, Any]:
    remedy = "run the job again: it makes the result again"
    if finding.line is None:
        remedy = "nothing in the ledger names it: remove it if it is of no use"
    elif not repaired and finding.line.status != "missing":
        remedy = "'sdflow verify DST --repair', then run the job again"
    return {
        "problem": finding.verdict,
        "key": None if finding.line is None else finding.line.key,
        "output": finding.output,
        "next_step": remedy,
    }


def _pair_problem(problem: Problem) -> dict[str, Any]:
    remedy = "'sdflow verify DST --repair', then run the job again"
    if problem.verdict == "orphan":
        remedy = "nothing in the dataset names it: remove it if it is of no use"
    elif problem.heals:
        remedy = "run the job again: it draws the pairs again"
    reason = {"reason": problem.reason} if problem.reason else {}
    return {
        "problem": problem.verdict,
        "key": problem.key,
        "output": problem.output,
        **reason,
        "next_step": remedy,
    }
