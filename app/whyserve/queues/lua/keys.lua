-- The Redis queue's transactions. Redis runs no other command during a script. All times are those of Redis's clock.
--
-- The files of this folder are one script: keys, delivery, api, worker, in this order.
-- KEYS[1]: the prefix of all keys. ARGV[1]: the name of the transaction; then its arguments.
--   job:<id>            hash: the job and its state; expires some time after the job is final
--   line:<batch key>    stream, group "workers": the open jobs of a batch key; a final job's entry is deleted
--   batch_keys          set: the batch keys that have a stream
--   open                sorted set: jobs that are not final, by deadline; its size is the queue's depth
--   idempotency:<key>   string: the id of the job with this idempotency key
--   workers             hash: owner -> the digests of the worker's manifests
--   alive               sorted set: owners, by the time at which a silent worker is not counted any more
--   turns               hash: whose turn it is; see api.lua
--   job_metrics         stream: metrics of finished jobs that no API has counted yet; the oldest are dropped
--   wakeup              stream with one entry: an idle worker blocks on it until it changes
-- Channel final: the ids of jobs that became final.

local P = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local GROUP = 'workers'
local MOST_JOB_METRICS = 10000

local function job_key(id) return P .. 'job:' .. id end
local function line_key(batch_key) return P .. 'line:' .. batch_key end

-- Record a final status and delete the job from all but its own hash. ...: more fields of the hash.
local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local batch_key, entry, idempotency_key = unpack(redis.call('HMGET', key, 'batch_key', 'entry', 'idempotency_key'))
  local line = line_key(batch_key)
  redis.call('XACK', line, GROUP, entry)
  redis.call('XDEL', line, entry)
  if redis.call('XLEN', line) == 0 then
    redis.call('DEL', line)
    redis.call('SREM', P .. 'batch_keys', batch_key)
  end
  redis.call('HSET', key, 'status', status, ...)
  redis.call('EXPIRE', key, keep_s)
  if idempotency_key ~= '' then redis.call('EXPIRE', P .. 'idempotency:' .. idempotency_key, keep_s) end
  redis.call('ZREM', P .. 'open', id)
  redis.call('PUBLISH', P .. 'final', id)
end

-- Fail queued jobs past their deadline, and running jobs overdue_s seconds past it.
local function expire(keep_s, timed_out, overdue_s)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', now)) do
    local overdue = tonumber(redis.call('ZSCORE', P .. 'open', id)) < now - overdue_s
    if overdue or redis.call('HGET', job_key(id), 'status') == 'queued' then
      final(id, 'failed', keep_s, 'error', timed_out)
    end
  end
end

-- Whether this delivery of the job is still the owner's.
local function holds(owner, id, fence)
  local status, its_owner, deliveries = unpack(redis.call('HMGET', job_key(id), 'status', 'owner', 'deliveries'))
  return status == 'running' and its_owner == owner and deliveries == fence
end

-- Renew a lease (idle_ms 0) or end it (a large idle_ms). Redis counts a lease's age from the last claim of its entry.
local function set_age(owner, id, idle_ms)
  local batch_key, entry = unpack(redis.call('HMGET', job_key(id), 'batch_key', 'entry'))
  if not batch_key then return end
  redis.call('XCLAIM', line_key(batch_key), GROUP, owner, 0, entry, 'IDLE', idle_ms, 'JUSTID')
end
