-- The API's side.

-- Accept a job. Returns the answer, and whether the job is new.
local function accept(id, batch_key, group, body, deadline, idempotency_key, request_hash, caller, depth)
  if redis.call('EXISTS', job_key(id)) == 1 then return {'accepted', id}, false end
  if idempotency_key ~= '' then
    local known = redis.call('GET', P .. 'idempotency:' .. idempotency_key)
    if known then
      local same = redis.call('HGET', job_key(known), 'request_hash') == request_hash
      return {same and 'accepted' or 'reused', known}, false
    end
  end
  local waiting = redis.call('ZCARD', P .. 'open')
  if waiting >= tonumber(depth) then return {'full', tostring(waiting)}, false end
  redis.call('HSET', job_key(id), 'progress', '0', 'deliveries', '0', 'body', body, 'batch_key', batch_key,
    'group', group, 'idempotency_key', idempotency_key, 'request_hash', request_hash, 'caller', caller)
  redis.call('ZADD', P .. 'open', deadline, id)
  if idempotency_key ~= '' then redis.call('SET', P .. 'idempotency:' .. idempotency_key, id) end
  return {'accepted', id}, true
end

local T = {}  -- transaction name -> function; worker.lua adds the workers'

function T.submit(keep_s, timed_out, id, batch_key, group, ...)
  expire(keep_s, timed_out)
  local answer, is_new = accept(id, batch_key, group, ...)
  if is_new then wait(id, batch_key, group) end
  return answer
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
