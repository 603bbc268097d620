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
--   turns               hash: whose turn it is; see delivery.lua
--   kept                sorted set: final jobs as <bytes>:<id>, by the time until which they are kept
--   bytes               hash: the bytes of the requests of open jobs (open), of their expected answers (expected), and
--                       of requests and answers of final jobs (kept)
--   idempotency:<key>   string: the id of the job with this idempotency key
--   alive               sorted set: owners, by the time at which a silent worker is not counted any more
--   digests:<owner>     set: the digests of the worker's manifests; expires with its registration
--   job_metrics         list: metrics of finished jobs that no API has counted yet; the oldest are dropped
--
-- A line is a batch key; a job that was returned has a line of its own. A group is a manifest's digest; or its digest and
-- /alone, for heavy and for returned jobs, which do not run beside another computation. The lines of one group go to the
-- same workers, so the cost of a search is independent of their number.

local P = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local MOST_JOB_METRICS = 10000
local FREED_BYTES = 4194304  -- at once, if Redis's memory is full

local function job_key(id) return P .. 'job:' .. id end

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

-- Give a member of a sorted set the lowest score of another sorted set. If that one is empty, remove the member.
local function index(set, member, of)
  local first = redis.call('ZRANGE', of, 0, 0, 'WITHSCORES')[2]
  if first then redis.call('ZADD', set, first, member) else redis.call('ZREM', set, member) end
end

local function line_changed(line, group)
  index(P .. 'lines:' .. group, line, P .. 'line:' .. line)
  index(P .. 'groups', group, P .. 'lines:' .. group)
end

-- Let a job wait at a place. alone: '' if it may run beside another computation.
local function wait(id, line, alone, place)
  local group = redis.call('HGET', job_key(id), 'digest') .. (alone ~= '' and '/alone' or '')
  redis.call('HSET', job_key(id), 'status', 'queued', 'owner', '', 'line', line, 'group', group)
  redis.call('ZADD', P .. 'line:' .. line, place, id)
  line_changed(line, group)
end

-- Record a final status and delete the job from all but its own hash. ...: more fields of the hash; first the answer.
local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local line, group, idempotency_key, request_bytes, expected =
    unpack(redis.call('HMGET', key, 'line', 'group', 'idempotency_key', 'request_bytes', 'expected'))
  if line and redis.call('ZREM', P .. 'line:' .. line, id) == 1 then line_changed(line, group) end
  redis.call('ZREM', P .. 'leases', id)
  redis.call('HSET', key, 'status', status, ...)
  redis.call('EXPIRE', key, keep_s)
  if idempotency_key ~= '' then redis.call('EXPIRE', P .. 'idempotency:' .. idempotency_key, keep_s) end
  redis.call('ZREM', P .. 'open', id)
  local bytes = request_bytes + #(select(2, ...) or '')
  redis.call('ZADD', P .. 'kept', now + keep_s, string.format('%.0f:%s', bytes, id))
  count('kept', bytes)
  count('open', -request_bytes)
  count('expected', -expected)
end

-- Delete final jobs that were kept long enough, and fail the jobs that are too late.
local function expire(keep_s, timed_out)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'kept', '-inf', now)) do drop(member) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', now)) do
    final(id, 'failed', keep_s, 'error', timed_out)
  end
end

-- Whether this delivery of the job is still the owner's.
local function holds(owner, id, fence)
  local status, its_owner, deliveries = unpack(redis.call('HMGET', job_key(id), 'status', 'owner', 'deliveries'))
  return status == 'running' and its_owner == owner and deliveries == fence
end
