-- The API's side.

-- Accept a job. Returns the answer and, for a new job, its place.
local function accept(id, batch_key, digest, body, deadline, idempotency_key, request_hash, caller, work, depth, expected,
  keep_bytes)
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
  local limit, size = largest(keep_bytes), #body + expected
  if size > limit then return {'too_large', string.format('%.0f %.0f', size, limit)} end
  -- The answers of all open jobs have their room from the beginning.
  if not make_room(size + counted('expected'), limit) then return {'no_room', string.format('%.0f', limit)} end
  redis.call('HSET', job_key(id), 'progress', '0', 'deliveries', '0', 'body', body, 'batch_key', batch_key,
    'digest', digest, 'idempotency_key', idempotency_key, 'request_hash', request_hash, 'caller', caller,
    'request_bytes', #body, 'expected', expected)
  count('open', #body)
  count('expected', expected)
  local place = next_place(caller, work)
  redis.call('ZADD', P .. 'open', deadline, id)
  if idempotency_key ~= '' then redis.call('SET', P .. 'idempotency:' .. idempotency_key, id) end
  return {'accepted', id}, place
end

local T = {}  -- transaction name -> function; worker.lua adds the workers'

function T.submit(keep_s, timed_out, alone, id, batch_key, ...)
  expire(keep_s, timed_out)
  local answer, place = accept(id, batch_key, ...)
  if place then wait(id, batch_key, alone, place) end
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
