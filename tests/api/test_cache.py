"""The cache of explanations, for answers at once and answers fetched later."""

import orjson
import pytest

from whyserve.api.cache import MAX_EXPECTED_ROWS, ExplanationCache


def answer(*rows: int, **more: object) -> bytes:
    return orjson.dumps({"id": "first", **more, "explanations": [{"row": row} for row in rows]})


def test_an_answer_is_cached_once_it_was_seen():
    known = ExplanationCache(1 << 20)
    known.expect("job", [b"a", b"b"])
    assert known.answer([b"a", b"b"]) is None
    known.keep("job", answer(1, 2))
    found = orjson.loads(b"".join(known.answer([b"b", b"a"]) or ()))
    assert found == {"id": "first", "cached": True, "explanations": [{"row": 2}, {"row": 1}]}
    assert known.answer([b"a", b"c"]) is None


@pytest.mark.parametrize("made", [answer(1, complete=False), None])
def test_incomplete_and_forgotten_answers_are_not_cached(made):
    known = ExplanationCache(1 << 20)
    known.expect("job", [b"a"])
    if made is None:
        known.forget("job")
        made = answer(1)
    known.keep("job", made)
    assert known.answer([b"a"]) is None


def test_unexpected_answers_are_not_cached():
    known = ExplanationCache(1 << 20)
    known.keep("another's", answer(1))
    known.expect("job", [])  # of a summary
    known.keep("job", b'{"summary": []}')
    assert known.answer([]) is None


def test_the_number_of_expected_rows_is_limited():
    known = ExplanationCache(1 << 20)
    many = MAX_EXPECTED_ROWS // 2
    for number in range(3):
        known.expect(f"job{number}", [b"%d" % number] * many)
    known.keep("job0", answer(*range(many)))
    known.keep("job2", answer(*range(many)))
    assert known.answer([b"0"]) is None
    assert known.answer([b"2"]) is not None
