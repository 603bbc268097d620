"""The expected size of an answer against the size of the answer."""

import pytest

from tests.conftest import rows_of, shipped


@pytest.mark.parametrize("name", shipped())
def test_the_expected_size_is_near_the_size_of_the_answer(name, client, expected_bytes):
    rows = rows_of(name, 3)
    for method in ({"method": "deep"}, {"method": "permutation", "samples": 1}):
        request = {"model": name, "instances": rows, "outputs": "all", **method}
        answer = client.post("/explain", json=request)
        if answer.status_code == 422:
            continue  # the method does not fit
        assert answer.status_code == 200, answer.text
        expected = expected_bytes(request)
        assert len(answer.content) <= expected <= 3 * len(answer.content) + 2000, method


def test_the_expected_size_of_a_summary_does_not_depend_on_its_rows(expected_bytes):
    request = {"model": "breast_cancer", "instances": rows_of("breast_cancer", 5), "summary": True}
    more = {**request, "instances": rows_of("breast_cancer", 500)}
    assert expected_bytes(request) == expected_bytes(more) < 10_000
