"""The version of what a queue holds, shared by both queues."""

# Raise it when a message (whyserve.jobs), a table or a Redis key changes. A program never reads another version's jobs:
# a queue file of another version is set aside, and the version is part of every Redis key. Versions up to 4 had no
# version in their Redis keys.
VERSION = 8
