-- The workers' and the supervisor's side, and the call of the transaction.

function T.announce(owner, alive_s, digests)
  local key = P .. 'digests:' .. owner
  redis.call('DEL', key)
  for digest in string.gmatch(digests, '%S+') do redis.call('SADD', key, digest) end
  redis.call('PEXPIRE', key, math.ceil(1000 * alive_s))
  redis.call('ZADD', P .. 'alive', now + alive_s, owner)
end

-- A worker is not registered if it was silent for long, or if Redis has lost its data.
local function is_registered(owner)
  local until_s = redis.call('ZSCORE', P .. 'alive', owner)
  return until_s and tonumber(until_s) > now
end

local function forget(owner)
  redis.call('DEL', P .. 'digests:' .. owner)
  redis.call('ZREM', P .. 'alive', owner)
end

function T.workers()
  for _, owner in ipairs(redis.call('ZRANGEBYSCORE', P .. 'alive', '-inf', now)) do forget(owner) end
  local found = {}
  for _, owner in ipairs(redis.call('ZRANGE', P .. 'alive', 0, -1)) do
    found[#found + 1] = {owner, redis.call('SMEMBERS', P .. 'digests:' .. owner)}
  end
  return found
end

-- Returns leases, or nothing if the worker is not registered.
function T.take(owner, beside, limit, lease_s, overdue_s, max_deliveries, lost, keep_s, timed_out)
  if not is_registered(owner) then return false end
  expire(keep_s, timed_out)
  hand_back(overdue_s, tonumber(max_deliveries), lost, keep_s)
  local leases, group = {}, first_group(owner, beside)
  if not group then return leases end
  local line = redis.call('ZRANGE', P .. 'lines:' .. group, 0, 0)[1]
  local found = redis.call('ZPOPMIN', P .. 'line:' .. line, limit)
  line_changed(line, group)
  redis.call('HSET', P .. 'turns', 'now', found[2])
  for i = 1, #found, 2 do leases[#leases + 1] = lease(owner, found[i], lease_s, overdue_s) end
  return leases
end

-- Accept a job that is computed already, with its lease.
function T.adopt(owner, lease_s, overdue_s, keep_s, timed_out, _, id, ...)
  expire(keep_s, timed_out)
  local answer, place = accept(id, ...)
  if place then lease(owner, id, lease_s, overdue_s) end
  return answer
end

function T.finish(owner, id, fence, status, field, value, keep_s, job_metrics, keep_bytes)
  if not holds(owner, id, fence) then return 0 end
  local limit = largest(keep_bytes)
  if field == 'result' and not make_room(#value, limit) then return string.format('%.0f %.0f', #value, limit) end
  final(id, status, keep_s, field, value, 'progress', '1')
  if job_metrics ~= '' then
    redis.call('RPUSH', P .. 'job_metrics', job_metrics)
    redis.call('LTRIM', P .. 'job_metrics', -MOST_JOB_METRICS, -1)
    redis.call('EXPIRE', P .. 'job_metrics', keep_s)
  end
  return 1
end

function T.job_metrics()
  local found = redis.call('LRANGE', P .. 'job_metrics', 0, -1)
  redis.call('DEL', P .. 'job_metrics')
  return found
end

function T.report(owner, lease_s, progress, standard_error, ...)
  local valid, given = {}, {...}
  for i = 1, #given, 2 do
    local held = holds(owner, given[i], given[i + 1])
    if held then
      redis.call('HSET', job_key(given[i]), 'progress', progress, 'standard_error', standard_error)
      redis.call('ZADD', P .. 'leases', now + lease_s, given[i])
    end
    valid[#valid + 1] = held and 1 or 0
  end
  return valid
end

-- Returns whether the worker is registered.
function T.renew(owner, lease_s, alive_s, ...)
  local given = {...}
  for i = 1, #given, 2 do
    if holds(owner, given[i], given[i + 1]) then redis.call('ZADD', P .. 'leases', now + lease_s, given[i]) end
  end
  if not is_registered(owner) then return 0 end
  redis.call('ZADD', P .. 'alive', now + alive_s, owner)
  redis.call('PEXPIRE', P .. 'digests:' .. owner, math.ceil(1000 * alive_s))
  return 1
end

-- End the leases of a worker: the next search of any worker lets its jobs wait again.
function T.release(owner)
  forget(owner)
  for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
    if redis.call('HGET', job_key(id), 'owner') == owner then
      redis.call('HSET', job_key(id), 'status', 'queued', 'owner', '')
      redis.call('ZADD', P .. 'leases', 0, id)
    end
  end
end

local done, answer = pcall(T[ARGV[1]], unpack(ARGV, 2))
if done then return answer end
-- Redis refuses the first write of a transaction if its memory is full, and none after a write that frees memory.
local message = type(answer) == 'table' and answer.err or tostring(answer)
if string.find(message, 'OOM', 1, true) and drop_oldest(FREED_BYTES) > 0 then return T[ARGV[1]](unpack(ARGV, 2)) end
return {err = message}
