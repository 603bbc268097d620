-- The Redis queue's transactions. Redis runs no other command during a script. All times are those of Redis's clock.
--
-- The files of this folder are one script: keys, delivery, api, worker, in this order.
-- KEYS[1]: the prefix of all keys. ARGV[1]: the name of the transaction; then its arguments.
--   job:<id>            hash: the job and its state; expires some time after the job is final
--   open                sorted set: jobs that are not final, by the time at which they fail; its size is the queue's depth
--   leases              sorted set: running jobs, by the ends of their leases
--   line:<line>         sorted set: waiting jobs that may be delivered together, by place
--   lines:<group>       sorted set: the lines of a group with waiting jobs, by the place of their first job
--   groups              sorted set: the groups with waiting jobs, by the place of their first job
--   place               string: the place of the last job that began to wait
--   idempotency:<key>   string: the id of the job with this idempotency key
--   alive               sorted set: owners, by the time at which a silent worker is not counted any more
--   digests:<owner>     set: the digests of the worker's manifests; expires with its registration
--   job_metrics         list: metrics of finished jobs that no API has counted yet; the oldest are dropped
--
-- A line is a batch key; a job that was returned has a line of its own. A group is a manifest's digest, or its digest
-- and /summary: the lines of one group go to the same workers, so the cost of a search is independent of their number.

local P = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local MOST_JOB_METRICS = 10000

local function job_key(id) return P .. 'job:' .. id end

-- Give a member of a sorted set the lowest score of another sorted set. If that one is empty, remove the member.
local function index(set, member, of)
  local first = redis.call('ZRANGE', of, 0, 0, 'WITHSCORES')[2]
  if first then redis.call('ZADD', set, first, member) else redis.call('ZREM', set, member) end
end

local function line_changed(line, group)
  index(P .. 'lines:' .. group, line, P .. 'line:' .. line)
  index(P .. 'groups', group, P .. 'lines:' .. group)
end

-- Let a job wait, behind all others.
local function wait(id, line, group)
  redis.call('HSET', job_key(id), 'status', 'queued', 'owner', '', 'line', line, 'group', group)
  redis.call('ZADD', P .. 'line:' .. line, redis.call('INCR', P .. 'place'), id)
  line_changed(line, group)
end

-- Record a final status and delete the job from all but its own hash. ...: more fields of the hash.
local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local line, group, idempotency_key = unpack(redis.call('HMGET', key, 'line', 'group', 'idempotency_key'))
  if line and redis.call('ZREM', P .. 'line:' .. line, id) == 1 then line_changed(line, group) end
  redis.call('ZREM', P .. 'leases', id)
  redis.call('HSET', key, 'status', status, ...)
  redis.call('EXPIRE', key, keep_s)
  if idempotency_key ~= '' then redis.call('EXPIRE', P .. 'idempotency:' .. idempotency_key, keep_s) end
  redis.call('ZREM', P .. 'open', id)
end

-- Fail the jobs that are too late.
local function expire(keep_s, timed_out)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', now)) do
    final(id, 'failed', keep_s, 'error', timed_out)
  end
end

-- Whether this delivery of the job is still the owner's.
local function holds(owner, id, fence)
  local status, its_owner, deliveries = unpack(redis.call('HMGET', job_key(id), 'status', 'owner', 'deliveries'))
  return status == 'running' and its_owner == owner and deliveries == fence
end
