#!/bin/sh
# Redis for the queue: one user with the queue's keys and commands (redis.acl); every write is on disk before its reply.
#
#   redis.sh [FLAG…]   start redis-server, with these additional flags
#   redis.sh check     exit with 0 if Redis answers that user
set -eu
umask 077
if [ -z "${REDIS_PASSWORD:-}" ]; then
  echo "whyserve redis: REDIS_PASSWORD is not set; set it to the queue's password, as in .env.example" >&2
  exit 1
fi
if [ "${1:-}" = check ]; then
  export REDISCLI_AUTH="$REDIS_PASSWORD"
  [ "$(redis-cli --user whyserve ping)" = PONG ]
  exit
fi
# The user `default` is off: nobody can log in as it. It still has all permissions, because at its start Redis replays
# its file as this user and skips the commands that the user may not run.
users=$(mktemp)
# The file gets the password's digest, not the password.
digest=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
sed "s/#PASSWORD/#$digest/" "$(dirname "$0")/redis.acl" >"$users"
exec redis-server --aclfile "$users" --dir "${REDIS_FOLDER:-/queue}" --appendonly yes --appendfsync always --save "" \
  --maxmemory "${REDIS_MEMORY:-384mb}" --maxmemory-policy noeviction "$@"
