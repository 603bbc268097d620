-- The Redis queue's transactions. Redis runs no other command during a script. All times are those of Redis's clock.
--
-- The files of this folder are one script: keys, delivery, api, worker, in this order.
-- KEYS[1]: the prefix of all keys. ARGV[1]: the name of the transaction; then its arguments.
--   job:<id>            hash: the job and its state; expires some time after the job is final
--   line:<batch key>    stream, group "workers": the open jobs of a batch key; a final job's entry is deleted
--   batch_keys          set: the batch keys that have a stream
--   open                sorted set: jobs that are not final, by deadline; its size is the queue's depth
--   kept                sorted set: final jobs as <bytes>:<id>, by the time until which they are kept
--   bytes               hash: the bytes of the requests of open jobs (open), of their expected answers (expected), and
--                       of requests and answers of final jobs (kept)
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
local FREED_BYTES = 4194304  -- at once, if Redis's memory is full

local function job_key(id) return P .. 'job:' .. id end
local function line_key(batch_key) return P .. 'line:' .. batch_key end

-- bytes: may be negative. Lua writes the negative of 0 as -0, which Redis refuses; + 0 makes it 0.
local function count(what, bytes) redis.call('HINCRBY', P .. 'bytes', what, string.format('%.0f', bytes + 0)) end
local function counted(what) return tonumber(redis.call('HGET', P .. 'bytes', what) or 0) end

-- Delete a final job. Its first write needs no memory, so Redis runs it also when its memory is full.
local function drop(member)
  local bytes, id = string.match(member, '^(%d+):(.*)$')
  local idempotency_key = redis.call('HGET', job_key(id), 'idempotency_key')
  redis.call('ZREM', P .. 'kept', member)
  redis.call('DEL', job_key(id))
  if idempotency_key and idempotency_key ~= '' then redis.call('DEL', P .. 'idempotency:' .. idempotency_key) end
  count('kept', -bytes)
  return tonumber(bytes)
end

-- Delete the oldest final jobs, at least so many bytes. Returns the number of bytes.
local function drop_oldest(bytes)
  local dropped = 0
  while dropped < bytes do
    local oldest = redis.call('ZRANGE', P .. 'kept', 0, 0)[1]
    if not oldest then break end
    dropped = dropped + drop(oldest)
  end
  return dropped
end

-- The most bytes of all requests and answers: at most half of Redis's memory.
local function largest(keep_bytes)
  local memory = tonumber(string.match(redis.call('INFO', 'memory'), 'maxmemory:(%d+)'))
  return memory > 0 and math.min(keep_bytes, memory / 2) or tonumber(keep_bytes)
end

-- Delete the oldest final jobs until so many more bytes fit. Returns false, and deletes none, if they cannot fit.
local function make_room(bytes, limit)
  local open = counted('open')
  if open + bytes > limit then return false end
  drop_oldest(open + counted('kept') + bytes - limit)
  return true
end

-- Record a final status and delete the job from all but its own hash. ...: more fields of the hash; first the answer.
local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local batch_key, entry, idempotency_key, request_bytes, expected =
    unpack(redis.call('HMGET', key, 'batch_key', 'entry', 'idempotency_key', 'request_bytes', 'expected'))
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
  local bytes = request_bytes + #(select(2, ...) or '')
  redis.call('ZADD', P .. 'kept', now + keep_s, string.format('%.0f:%s', bytes, id))
  count('kept', bytes)
  count('open', -request_bytes)
  count('expected', -expected)
  redis.call('PUBLISH', P .. 'final', id)
end

-- Delete final jobs that were kept long enough. Fail queued jobs past their deadline, and running jobs overdue_s seconds past it.
local function expire(keep_s, timed_out, overdue_s)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'kept', '-inf', now)) do drop(member) end
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
