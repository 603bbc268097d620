-- Delivery: which jobs a worker gets.

local ORDERED = 1048576  -- the number of jobs with equal places whose order is kept

-- A caller's next place: the counted work in microseconds after which it is the caller's turn (start-time fair queueing:
-- Goyal, Vin & Cheng 1996). A fraction keeps the jobs of equal places in their order.
local function next_place(caller, work)
  local turns, turn = P .. 'turns', 'turn:' .. caller
  if redis.call('ZCARD', P .. 'open') == 0 then redis.call('DEL', turns) end
  local reached, own = unpack(redis.call('HMGET', turns, 'now', turn))
  local start = math.max(math.floor(tonumber(reached or 0)), tonumber(own or 0))
  redis.call('HSET', turns, turn, string.format('%.0f', start + work))
  return start + redis.call('HINCRBY', turns, 'number', 1) % ORDERED / ORDERED
end

-- Lease a job. A worker stops by itself at the deadline; without a result overdue_s seconds later, the job fails.
local function lease(owner, id, lease_s, overdue_s)
  local key = job_key(id)
  local fence = redis.call('HINCRBY', key, 'deliveries', 1)
  redis.call('HSET', key, 'status', 'running', 'owner', owner)
  redis.call('ZADD', P .. 'leases', now + lease_s, id)
  redis.call('ZINCRBY', P .. 'open', overdue_s, id)
  return {redis.call('HGET', key, 'body'), fence}
end

-- Let jobs wait again whose leases have ended, behind the other jobs of their callers. Each comes alone: if it ends the
-- next worker too, no other job is lost with it.
local function hand_back(overdue_s, max_deliveries, lost, keep_s)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now)) do
    local deliveries, batch_key, caller = unpack(redis.call('HMGET', job_key(id), 'deliveries', 'batch_key', 'caller'))
    if tonumber(deliveries) >= max_deliveries then
      final(id, 'failed', keep_s, 'error', lost)
    else
      redis.call('ZREM', P .. 'leases', id)
      redis.call('ZINCRBY', P .. 'open', -overdue_s, id)
      wait(id, batch_key .. '/' .. id, 'alone', next_place(caller, 0))
    end
  end
end

-- The group of the first job that this worker can compute. beside: as in JobSource.take; '' for all jobs.
local function first_group(owner, beside)
  for _, group in ipairs(redis.call('ZRANGE', P .. 'groups', 0, -1)) do
    local digest = string.match(group, '^[^/]*')
    if (digest == group or beside == '') and redis.call('SISMEMBER', P .. 'digests:' .. owner, digest) == 1 then
      return group
    end
  end
end
