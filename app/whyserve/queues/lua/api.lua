-- The API's side.

-- A stream id greater than that of every accepted job: one order over all streams, also within one millisecond and
-- after the clock was set back.
local function place()
  local ms, n = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), 0
  local last_ms, last_n = string.match(redis.call('GET', P .. 'place') or '', '(%d+)-(%d+)')
  if last_ms and tonumber(last_ms) >= ms then ms, n = tonumber(last_ms), tonumber(last_n) + 1 end
  local id = string.format('%.0f-%.0f', ms, n)
  redis.call('SET', P .. 'place', id)
  return id
end

local T = {}  -- transaction name -> function; worker.lua adds the workers'

function T.submit(id, batch_key, body, deadline, idempotency_key, request_hash, caller, depth, expected,
  keep_bytes, ...)
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
  local limit, size = largest(keep_bytes), #body + expected
  if size > limit then return {'too_large', string.format('%.0f %.0f', size, limit)} end
  -- The answers of all open jobs have their room from the beginning.
  if not make_room(size + counted('expected'), limit) then return {'no_room', string.format('%.0f', limit)} end
  if redis.call('SADD', P .. 'batch_keys', batch_key) == 1 then
    redis.call('XGROUP', 'CREATE', line_key(batch_key), GROUP, '0', 'MKSTREAM')
  end
  local entry = redis.call('XADD', line_key(batch_key), place(), 'id', id)
  redis.call('HSET', job_key(id), 'status', 'queued', 'progress', '0', 'deliveries', '0', 'body', body,
    'batch_key', batch_key, 'entry', entry, 'idempotency_key', idempotency_key, 'request_hash', request_hash,
    'caller', caller, 'request_bytes', #body, 'expected', expected)
  count('open', #body)
  count('expected', expected)
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
