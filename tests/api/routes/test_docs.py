"""The page of the OpenAPI document."""

import base64
import hashlib
import re


def test_the_page_has_a_strict_policy(client):
    answer = client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    (inline,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert "http" not in re.sub(r"openapi\.json.*", "", answer.text).replace("<!DOCTYPE html>", "").split("<script>")[0]
