-- The workers' and the supervisor's side, and the call of the transaction.

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

-- Returns leases and the wakeup's id from before the search, so that no job accepted after the search is missed.
function T.take(owner, digests, excluded, limit, lease_ms, max_deliveries, lost, keep_s, ...)
  expire(keep_s, ...)
  local wakeup = redis.call('XREVRANGE', P .. 'wakeup', '+', '-', 'COUNT', 1)[1]
  local seen = wakeup and wakeup[1] or '0-0'
  local batch_keys = batch_keys_of(digests, excluded)
  local leases = {}
  if excluded == '' then  -- a job that a lost worker had does not run beside another one
    leases = reclaim(owner, batch_keys, lease_ms, keep_s, tonumber(max_deliveries), lost)
    if #leases > 0 then return {seen, leases} end
    batch_keys = batch_keys_of(digests, excluded)  -- again: reclaim may have deleted streams
  end
  local batch_key, now = next_line(batch_keys)
  if not batch_key then return {seen, {}} end
  redis.call('HSET', P .. 'turns', 'now', now)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, owner, 'COUNT', limit, 'STREAMS', line_key(batch_key), '>')
  for _, entry in ipairs(read[1][2]) do leases[#leases + 1] = lease(owner, entry[2][2]) end
  return {seen, leases}
end

-- Accept a job that is computed already, with its lease. It has a stream of its own: a stream delivers its oldest job,
-- and no other one.
function T.adopt(owner, id, batch_key, ...)
  local answer = T.submit(id, string.gsub(batch_key, '/', '/' .. id .. '/', 1), ...)
  if answer[1] == 'accepted' then
    local line = line_key(redis.call('HGET', job_key(id), 'batch_key'))
    redis.call('XREADGROUP', 'GROUP', GROUP, owner, 'COUNT', 1, 'STREAMS', line, '>')
    lease(owner, id)
  end
  return answer
end

function T.finish(owner, id, fence, status, field, value, keep_s, job_metrics, keep_bytes)
  if not holds(owner, id, fence) then return 0 end
  local limit = largest(keep_bytes)
  if field == 'result' and not make_room(#value, limit) then return string.format('%.0f %.0f', #value, limit) end
  final(id, status, keep_s, field, value, 'progress', '1')
  if job_metrics ~= '' then
    redis.call('XADD', P .. 'job_metrics', 'MAXLEN', MOST_JOB_METRICS, '*', 'body', job_metrics)
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
  local valid, given = {}, {...}
  for i = 1, #given, 2 do
    local held = holds(owner, given[i], given[i + 1])
    if held then
      redis.call('HSET', job_key(given[i]), 'progress', progress, 'standard_error', standard_error)
      set_age(owner, given[i], 0)
    end
    valid[#valid + 1] = held and 1 or 0
  end
  return valid
end

function T.renew(owner, alive_s, ...)
  if redis.call('HEXISTS', P .. 'workers', owner) == 1 then redis.call('ZADD', P .. 'alive', now + alive_s, owner) end
  local given = {...}
  for i = 1, #given, 2 do
    if holds(owner, given[i], given[i + 1]) then set_age(owner, given[i], 0) end
  end
end

-- Queue a worker's jobs again: their leases become ten days old, older than any lease may get.
function T.release(owner)
  redis.call('HDEL', P .. 'workers', owner)
  redis.call('ZREM', P .. 'alive', owner)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'open', 0, -1)) do
    local status, its_owner = unpack(redis.call('HMGET', job_key(id), 'status', 'owner'))
    if status == 'running' and its_owner == owner then
      redis.call('HSET', job_key(id), 'status', 'queued', 'owner', '')
      set_age(owner, id, 864000000)
    end
  end
  redis.call('XADD', P .. 'wakeup', 'MAXLEN', 1, '*', 'id', owner)
end

local done, answer = pcall(T[ARGV[1]], unpack(ARGV, 2))
if done then return answer end
-- Redis refuses the first write of a transaction if its memory is full, and none after a write that frees memory.
local message = type(answer) == 'table' and answer.err or tostring(answer)
if string.find(message, 'OOM', 1, true) and drop_oldest(FREED_BYTES) > 0 then return T[ARGV[1]](unpack(ARGV, 2)) end
return {err = message}
