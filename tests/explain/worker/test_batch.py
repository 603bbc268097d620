"""Which jobs share passes."""

import numpy as np

from whyserve.explain.worker.batch import shareable
from whyserve.jobs import Drawing, ExplainJob, GivenBackground, PackedArray

ARRAY = PackedArray.pack(np.zeros((1, 2), np.float32))
JOB = ExplainJob(
    id="a", model="m", version=1, digest="d", rows={"x": ARRAY}, served=ARRAY, outputs=[["y"]], created=100.0
)


def changed(**change):
    return JOB.model_copy(update={"id": "b", **change})


def test_the_same_question_about_other_rows_shares_passes():
    assert shareable(JOB) == shareable(changed(created=200.0))
    assert shareable(changed(deadline=400.0)) == shareable(changed(created=101.0, deadline=401.0))


def test_what_would_change_a_neighbour_does_not():
    apart = [changed(seed=1), changed(samples=2), changed(outputs=[["y", "z"]]), changed(summary=True)]
    assert len({shareable(job) for job in (JOB, *apart)}) == 5
    assert shareable(changed(deadline=101.0)) != shareable(changed(deadline=400.0))
    assert shareable(changed(summary=True)) != shareable(changed(id="c", summary=True))


def test_questions_against_different_backgrounds_stand_in_different_batch_keys():
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
    assert shareable(drawing) != shareable(changed(id="c", drawing=drawing.drawing))
    assert ExplainJob.model_validate_json(jobs[4].model_dump_json()) == jobs[4]
