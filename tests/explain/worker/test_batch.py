"""Which jobs are computed together."""

import numpy as np

from whyserve.jobs import HEAVY_KEY, HEAVY_S, SHARED_S, Drawing, ExplainJob, GivenBackground
from whyserve.model.arrays import PackedArray

ARRAY = PackedArray.pack(np.zeros((1, 2), np.float32))
JOB = ExplainJob(
    id="a", model="m", version=1, digest="d", rows={"x": ARRAY}, served=ARRAY, outputs=[["y"]], created=100.0
)


def changed(**change):
    return JOB.model_copy(update={"id": "b", **change})


def test_jobs_that_differ_in_their_rows_are_computed_together():
    assert JOB.batch_key == changed(created=200.0, caller="ann").batch_key
    assert changed(deadline=400.0).batch_key == changed(created=101.0, deadline=401.0).batch_key


def test_jobs_that_would_change_each_other_are_not_computed_together():
    apart = [changed(seed=1), changed(samples=2), changed(outputs=[["y", "z"]]), changed(summary=True)]
    assert len({job.batch_key for job in (JOB, *apart)}) == 5
    assert changed(deadline=101.0).batch_key != changed(deadline=400.0).batch_key
    assert changed(summary=True).batch_key != changed(id="c", summary=True).batch_key


def test_a_long_job_is_computed_alone_and_a_queue_recognises_a_heavy_one():
    assert JOB.batch_key == changed(work=SHARED_S).batch_key
    long, heavy = changed(work=HEAVY_S), changed(work=2 * HEAVY_S)
    assert long.batch_key != changed(id="c", work=HEAVY_S).batch_key
    assert not long.batch_key.endswith(HEAVY_KEY)
    assert heavy.batch_key.endswith(HEAVY_KEY)
    assert heavy.batch_key != changed(id="c", work=2 * HEAVY_S).batch_key
    assert JOB.flow == long.flow != heavy.flow != changed(work=2 * HEAVY_S, caller="ann").flow


def test_jobs_with_different_backgrounds_have_different_batch_keys():
    rows = [GivenBackground.pack({"x": np.full((2, 2), number, np.float32)}) for number in (0, 1, 1)]
    jobs = [JOB, changed(background="default"), changed(background="healthy"), *(changed(background=b) for b in rows)]
    keys = [job.batch_key for job in jobs]
    assert keys[0] == keys[1]
    assert keys[4] == keys[5]
    assert len(set(keys)) == 4
    drawing = changed(drawing=Drawing(kind="svg", answer="{}"), background="healthy")
    keys.append(drawing.batch_key)
    assert len(set(keys)) == 5
    assert all(key.split("/")[0] == "d" for key in keys)
    assert drawing.batch_key != changed(id="c", drawing=drawing.drawing).batch_key
    assert ExplainJob.model_validate_json(jobs[4].model_dump_json()) == jobs[4]
