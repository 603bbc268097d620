#!/bin/sh
# Redis for the queue alone: one user, of the queue's keys and commands; what is accepted is on the disk.
set -eu
umask 077
if [ -z "${REDIS_PASSWORD:-}" ]; then
  echo "whyserve redis: REDIS_PASSWORD is not set; set it to the queue's password, as in .env.example" >&2
  exit 1
fi
if [ "${1:-}" = check ]; then
  export REDISCLI_AUTH="$REDIS_PASSWORD"
  [ "$(redis-cli --user whyserve --no-auth-warning ping)" = PONG ]
  exit
fi
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)
cat > /tmp/users.acl <<ACL
user default off
user whyserve on #$hash resetkeys resetchannels ~whyserve:* &whyserve:* -@all @@COMMANDS@@
ACL
exec redis-server --aclfile /tmp/users.acl --dir /queue --appendonly yes --appendfsync always \
  --maxmemory-policy noeviction --save "" --protected-mode no
