-- The Redis queue's transactions. Redis runs a script whole or not at all beside other commands, and keeps the time.
--
-- KEYS[1]: the queue's prefix. ARGV[1]: the transaction's name; then its arguments.
--   job:<id>      hash: what is known of a job; kept for a time once it is final
--   line:<batch key>  stream, group "workers": its open jobs; an entry is deleted when its job is final
--   batch_keys    set: the batch keys that have a stream
--   open          sorted set: jobs that are not final, by deadline; its size is the depth
--   idempotency:<key>   string: the job of an idempotency key
--   workers, alive   hash and sorted set: the manifests of each worker, and until when it is taken for alive
--   place         string: where the last accepted job stands in its line, which no later one stands before
--   job_metrics   stream: metrics of finished jobs that nobody has counted yet; the oldest make way
--   wakeup          stream of one entry: whoever waits for a job waits for a change of it

local P = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local GROUP = 'workers'
local MOST_JOB_METRICS = 10000

local function job_key(id) return P .. 'job:' .. id end
local function line_key(batch_key) return P .. 'line:' .. batch_key end

local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local at = redis.call('HMGET', key, 'batch_key', 'entry', 'idempotency_key')
  local line = line_key(at[1])
  redis.call('XACK', line, GROUP, at[2])
  redis.call('XDEL', line, at[2])
  if redis.call('XLEN', line) == 0 then
    redis.call('DEL', line)
    redis.call('SREM', P .. 'batch_keys', at[1])
  end
  redis.call('HSET', key, 'status', status, ...)
  redis.call('EXPIRE', key, keep_s)
  if at[3] ~= '' then redis.call('EXPIRE', P .. 'idempotency:' .. at[3], keep_s) end
  redis.call('ZREM', P .. 'open', id)
  redis.call('PUBLISH', P .. 'final', id)
end

-- Jobs past their deadline that nobody has taken, or whose worker never came back with them, have failed.
local function expire(keep_s, timed_out, overdue_s)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', now)) do
    local overdue = tonumber(redis.call('ZSCORE', P .. 'open', id)) < now - overdue_s
    if overdue or redis.call('HGET', job_key(id), 'status') == 'queued' then
      final(id, 'failed', keep_s, 'error', timed_out)
    end
  end
end

local function holds(owner, id, fence)
  local is = redis.call('HMGET', job_key(id), 'status', 'owner', 'deliveries')
  return is[1] == 'running' and is[2] == owner and is[3] == fence
end

-- Streams count a lease's age from its last claim: claiming an entry again without reading it renews the lease.
local function claim_again(owner, id, idle_ms)
  local at = redis.call('HMGET', job_key(id), 'batch_key', 'entry')
  if not at[1] then return end
  redis.call('XCLAIM', line_key(at[1]), GROUP, owner, 0, at[2], 'IDLE', idle_ms, 'JUSTID')
end

local function lease(owner, id)
  local key = job_key(id)
  local fence = redis.call('HINCRBY', key, 'deliveries', 1)
  redis.call('HSET', key, 'status', 'running', 'owner', owner)
  return {redis.call('HGET', key, 'body'), fence}
end

-- kept_out: jobs whose batch key ends like this are not taken; '' keeps none out.
local function mine(digests, kept_out)
  local wanted, found = {}, {}
  for digest in string.gmatch(digests, '%S+') do wanted[digest] = true end
  for _, batch_key in ipairs(redis.call('SMEMBERS', P .. 'batch_keys')) do
    local out = kept_out ~= '' and string.sub(batch_key, -#kept_out) == kept_out
    if wanted[string.match(batch_key, '^[^/]*')] and not out then found[#found + 1] = batch_key end
  end
  return found
end

-- One job whose lease has ended, alone: should it end its worker, it takes no other with it.
local function reclaim(owner, batch_keys, lease_ms, keep_s, most, lost)
  for _, batch_key in ipairs(batch_keys) do
    while redis.call('EXISTS', line_key(batch_key)) == 1 do
      local ended = redis.call('XPENDING', line_key(batch_key), GROUP, 'IDLE', lease_ms, '-', '+', 1)[1]
      if not ended then break end
      local entry = redis.call('XCLAIM', line_key(batch_key), GROUP, owner, lease_ms, ended[1])[1]
      local id = entry[2][2]
      if tonumber(redis.call('HGET', job_key(id), 'deliveries')) < most then return {lease(owner, id)} end
      final(id, 'failed', keep_s, 'error', lost)
    end
  end
  return {}
end

local function older(a, b)
  local a_ms, a_n = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_n = string.match(b, '(%d+)-(%d+)')
  if a_ms == b_ms then return tonumber(a_n) < tonumber(b_n) end
  return tonumber(a_ms) < tonumber(b_ms)
end

local function oldest(batch_keys)
  local first, best = nil, nil
  for _, batch_key in ipairs(batch_keys) do
    local group = redis.call('XINFO', 'GROUPS', line_key(batch_key))[1]
    local delivered
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
    end
    local entry = redis.call('XRANGE', line_key(batch_key), '(' .. delivered, '+', 'COUNT', 1)[1]
    if entry and (not first or older(entry[1], first)) then first, best = entry[1], batch_key end
  end
  return best
end

-- One order for all batch keys: streams number theirs apart, within a millisecond and where the clock goes back.
local function place()
  local ms, n = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), 0
  local last_ms, last_n = string.match(redis.call('GET', P .. 'place') or '', '(%d+)-(%d+)')
  if last_ms and tonumber(last_ms) >= ms then ms, n = tonumber(last_ms), tonumber(last_n) + 1 end
  local id = string.format('%.0f-%.0f', ms, n)
  redis.call('SET', P .. 'place', id)
  return id
end

local T = {}

function T.submit(id, batch_key, body, deadline, idempotency_key, request_hash, caller, depth, ...)
  expire(...)
  if redis.call('EXISTS', job_key(id)) == 1 then return {'accepted', id} end
  if idempotency_key ~= '' then
    local known = redis.call('GET', P .. 'idempotency:' .. idempotency_key)
    if known then
      local same = redis.call('HGET', job_key(known), 'request_hash') == request_hash
      return {same and 'accepted' or 'reused', known}
    end
  end
  local waiting = redis.call('ZCARD', P .. 'open')
  if waiting >= tonumber(depth) then return {'full', tostring(waiting)} end
  if redis.call('SADD', P .. 'batch_keys', batch_key) == 1 then
    redis.call('XGROUP', 'CREATE', line_key(batch_key), GROUP, '0', 'MKSTREAM')
  end
  local entry = redis.call('XADD', line_key(batch_key), place(), 'id', id)
  redis.call('HSET', job_key(id), 'status', 'queued', 'progress', '0', 'deliveries', '0', 'body', body, 'batch_key', batch_key,
    'entry', entry, 'idempotency_key', idempotency_key, 'request_hash', request_hash, 'caller', caller)
  redis.call('ZADD', P .. 'open', deadline, id)
  if idempotency_key ~= '' then redis.call('SET', P .. 'idempotency:' .. idempotency_key, id) end
  redis.call('XADD', P .. 'wakeup', 'MAXLEN', 1, '*', 'id', id)
  return {'accepted', id}
end

function T.state(id, ...)
  expire(...)
  return redis.call('HMGET', job_key(id), 'status', 'progress', 'result', 'error', 'caller', 'standard_error')
end

function T.body(id)
  return redis.call('HGET', job_key(id), 'body')
end

function T.cancel(id, keep_s)
  local status = redis.call('HGET', job_key(id), 'status')
  if status == 'queued' or status == 'running' then final(id, 'cancelled', keep_s) end
end

function T.depth(...)
  expire(...)
  return redis.call('ZCARD', P .. 'open')
end

function T.announce(owner, digests, alive_s)
  redis.call('HSET', P .. 'workers', owner, digests)
  redis.call('ZADD', P .. 'alive', now + alive_s, owner)
end

function T.workers()
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', P .. 'alive', '-inf', now)) do
    redis.call('HDEL', P .. 'workers', owner)
    redis.call('ZREM', P .. 'alive', owner)
  end
  return redis.call('HGETALL', P .. 'workers')
end

-- Gives the wakeup as it was, so that what comes after this look is heard.
function T.take(owner, digests, kept_out, limit, lease_ms, most, lost, keep_s, ...)
  expire(keep_s, ...)
  local wakeup = redis.call('XREVRANGE', P .. 'wakeup', '+', '-', 'COUNT', 1)[1]
  local heard = wakeup and wakeup[1] or '0-0'
  local batch_keys = mine(digests, kept_out)
  local leases = reclaim(owner, batch_keys, lease_ms, keep_s, tonumber(most), lost)
  if #leases > 0 then return {heard, leases} end
  local batch_key = oldest(mine(digests, kept_out))
  if not batch_key then return {heard, {}} end
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, owner, 'COUNT', limit, 'STREAMS', line_key(batch_key), '>')
  for _, entry in ipairs(read[1][2]) do leases[#leases + 1] = lease(owner, entry[2][2]) end
  return {heard, leases}
end

function T.finish(owner, id, fence, status, field, value, keep_s, job_metrics)
  if not holds(owner, id, fence) then return 0 end
  final(id, status, keep_s, field, value, 'progress', '1')
  if job_metrics ~= '' then
    redis.call('XADD', P .. 'job_metrics', 'MAXLEN', MOST_JOB_METRICS, '*', 'of', job_metrics)
    redis.call('EXPIRE', P .. 'job_metrics', keep_s)
  end
  return 1
end

function T.job_metrics()
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', P .. 'job_metrics', '-', '+')) do found[#found + 1] = entry[2][2] end
  redis.call('DEL', P .. 'job_metrics')
  return found
end

function T.report(owner, progress, standard_error, ...)
  local wanted, given = {}, {...}
  for i = 1, #given, 2 do
    local held = holds(owner, given[i], given[i + 1])
    if held then
      redis.call('HSET', job_key(given[i]), 'progress', progress, 'standard_error', standard_error)
      claim_again(owner, given[i], 0)
    end
    wanted[#wanted + 1] = held and 1 or 0
  end
  return wanted
end

function T.renew(owner, alive_s, ...)
  if redis.call('HEXISTS', P .. 'workers', owner) == 1 then redis.call('ZADD', P .. 'alive', now + alive_s, owner) end
  local given = {...}
  for i = 1, #given, 2 do
    if holds(owner, given[i], given[i + 1]) then claim_again(owner, given[i], 0) end
  end
end

-- What a worker holds becomes older than any lease.
function T.release(owner)
  redis.call('HDEL', P .. 'workers', owner)
  redis.call('ZREM', P .. 'alive', owner)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'open', 0, -1)) do
    local is = redis.call('HMGET', job_key(id), 'status', 'owner')
    if is[1] == 'running' and is[2] == owner then
      redis.call('HSET', job_key(id), 'status', 'queued', 'owner', '')
      claim_again(owner, id, 864000000)
    end
  end
  redis.call('XADD', P .. 'wakeup', 'MAXLEN', 1, '*', 'id', owner)
end

return T[ARGV[1]](unpack(ARGV, 2))
