-- The API's side.

-- A stream id: the counted work in microseconds after which it is the caller's turn, and a number that grows (start-time
-- fair queueing: Goyal, Vin & Cheng 1996). The ids of one caller grow, and each stream has jobs of one caller only.
local function place(caller, work)
  local turns, turn = P .. 'turns', 'turn:' .. caller
  if redis.call('ZCARD', P .. 'open') == 0 then redis.call('DEL', turns) end
  local now, own = unpack(redis.call('HMGET', turns, 'now', turn))
  local start = math.max(tonumber(now or 0), tonumber(own or 0))
  redis.call('HSET', turns, turn, string.format('%.0f', start + work))
  return string.format('%.0f-%.0f', start, redis.call('HINCRBY', turns, 'number', 1))
end

local T = {}  -- transaction name -> function; worker.lua adds the workers'

function T.submit(id, batch_key, body, deadline, idempotency_key, request_hash, caller, work, depth, expected,
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
  batch_key = string.gsub(batch_key, '/', '/' .. caller .. '/', 1)
  if redis.call('SADD', P .. 'batch_keys', batch_key) == 1 then
    redis.call('XGROUP', 'CREATE', line_key(batch_key), GROUP, '0', 'MKSTREAM')
  end
  local entry = redis.call('XADD', line_key(batch_key), place(caller, tonumber(work)), 'id', id)
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
