-- Delivery: which jobs a worker gets.

-- Lease a job. A worker stops by itself at the deadline; without a result overdue_s seconds later, the job fails.
local function lease(owner, id, lease_s, overdue_s)
  local key = job_key(id)
  local fence = redis.call('HINCRBY', key, 'deliveries', 1)
  redis.call('HSET', key, 'status', 'running', 'owner', owner)
  redis.call('ZADD', P .. 'leases', now + lease_s, id)
  redis.call('ZINCRBY', P .. 'open', overdue_s, id)
  return {redis.call('HGET', key, 'body'), fence}
end

-- Let jobs wait again whose leases have ended. Each comes alone: if it ends the next worker too, no other job is lost
-- with it.
local function hand_back(overdue_s, max_deliveries, lost, keep_s)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now)) do
    local deliveries, batch_key, group = unpack(redis.call('HMGET', job_key(id), 'deliveries', 'batch_key', 'group'))
    if tonumber(deliveries) >= max_deliveries then
      final(id, 'failed', keep_s, 'error', lost)
    else
      redis.call('ZREM', P .. 'leases', id)
      redis.call('ZINCRBY', P .. 'open', -overdue_s, id)
      wait(id, batch_key .. '/' .. id, group)
    end
  end
end

-- The group of the oldest job that this worker can compute. summaries: '' leaves them out.
local function oldest_group(owner, summaries)
  for _, group in ipairs(redis.call('ZRANGE', P .. 'groups', 0, -1)) do
    local digest = string.match(group, '^[^/]*')
    if (digest == group or summaries ~= '') and redis.call('SISMEMBER', P .. 'digests:' .. owner, digest) == 1 then
      return group
    end
  end
end
