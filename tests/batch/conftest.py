"""The server of S3 of tests/remote, for rows and answers of a Ray cluster."""

from tests.remote.conftest import bucket, cable, server  # noqa: F401
