"""The codes of errors, which programs rely on: a class that gets another name must keep its code."""

from whyserve import errors

CODES = {
    "answer_too_large", "body_too_large", "busy", "configuration", "digest_mismatch", "duplicate_key",
    "explanation_cancelled", "explanation_failed", "explanation_gone", "explanation_timeout", "forbidden",
    "idempotency_key_reused", "invalid_input", "load_refused", "malformed_body", "model_fault", "not_acceptable",
    "parity_fault", "prediction_gone", "queue_full", "rate_limited", "record_unavailable", "still_computing",
    "too_many_instances", "too_many_players", "unauthorized", "unavailable", "unknown_explanation", "unknown_label",
    "unknown_model", "unknown_prediction", "unsupported_media_type", "unsupported_method", "unsupported_network",
    "worker_lost",
}  # fmt: skip


def test_every_error_has_its_stable_code():
    kinds = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.WhyserveError)
    ]
    codes = [each.code for each in kinds if each is not errors.WhyserveError]
    assert sorted(codes) == sorted(CODES)
