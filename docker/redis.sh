#!/bin/sh
# Redis for the queue alone: one user, of the queue's keys and commands (redis.acl); what is accepted is on the disk.
#
#   redis.sh [FLAG…]   start it, with more of redis-server's flags
#   redis.sh check     does it answer that user?
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
# Nobody can be the user default, who is off. But at its start Redis reads back, as that user, what it keeps on the
# disk, and passes over each transaction that the user may not: so may it do everything.
users=$(mktemp)
# Redis keeps the digest, so that the password itself stands in no file.
digest=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
sed "s/#PASSWORD/#$digest/" "$(dirname "$0")/redis.acl" >"$users"
exec redis-server --aclfile "$users" --dir "${REDIS_FOLDER:-/queue}" --appendonly yes --appendfsync always --save "" \
  --maxmemory "${REDIS_MEMORY:-384mb}" --maxmemory-policy noeviction "$@"
