-- The Redis queue's transactions. Redis runs a script whole or not at all beside other commands, and keeps the time.
--
-- KEYS[1]: the queue's prefix. ARGV[1]: the transaction's name; then its arguments.
--   job:<id>      hash: what is known of a job; kept for a time once it is final
--   line:<lane>   stream, group "workers": its open jobs; an entry is deleted when its job is final
--   lanes         set: the lanes that have a stream
--   open          sorted set: jobs that are not final, by deadline; its size is the depth
--   once:<once>   string: the job of an idempotency key
--   workers, alive   hash and sorted set: the manifests of each worker, and until when it is taken for alive
--   place         string: where the last accepted job stands in its line, which no later one stands before
--   figures       stream: what results took that nobody has counted yet; the oldest make way
--   bell          stream of one entry: whoever waits for a job waits for a change of it

local P = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local GROUP = 'workers'
local MOST_FIGURES = 10000

local function job_key(id) return P .. 'job:' .. id end
local function line_key(lane) return P .. 'line:' .. lane end

local function final(id, status, keep_s, ...)
  local key = job_key(id)
  local at = redis.call('HMGET', key, 'lane', 'entry', 'once')
  local line = line_key(at[1])
  redis.call('XACK', line, GROUP, at[2])
  redis.call('XDEL', line, at[2])
  if redis.call('XLEN', line) == 0 then
    redis.call('DEL', line)
    redis.call('SREM', P .. 'lanes', at[1])
  end
  redis.call('HSET', key, 'status', status, ...)
  redis.call('EXPIRE', key, keep_s)
  if at[3] ~= '' then redis.call('EXPIRE', P .. 'once:' .. at[3], keep_s) end
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
  local at = redis.call('HMGET', job_key(id), 'lane', 'entry')
  if not at[1] then return end
  redis.call('XCLAIM', line_key(at[1]), GROUP, owner, 0, at[2], 'IDLE', idle_ms, 'JUSTID')
end

local function lease(owner, id)
  local key = job_key(id)
  local fence = redis.call('HINCRBY', key, 'deliveries', 1)
  redis.call('HSET', key, 'status', 'running', 'owner', owner)
  return {redis.call('HGET', key, 'body'), fence}
end

-- kept_out: how the lanes end that are passed over; '' passes over none.
local function mine(digests, kept_out)
  local wanted, found = {}, {}
  for digest in string.gmatch(digests, '%S+') do wanted[digest] = true end
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes')) do
    local out = kept_out ~= '' and string.sub(lane, -#kept_out) == kept_out
    if wanted[string.match(lane, '^[^/]*')] and not out then found[#found + 1] = lane end
  end
  return found
end

-- One job whose lease has ended, alone: should it end its worker, it takes no other with it.
local function reclaim(owner, lanes, lease_ms, keep_s, most, lost)
  for _, lane in ipairs(lanes) do
    while redis.call('EXISTS', line_key(lane)) == 1 do
      local ended = redis.call('XPENDING', line_key(lane), GROUP, 'IDLE', lease_ms, '-', '+', 1)[1]
      if not ended then break end
      local entry = redis.call('XCLAIM', line_key(lane), GROUP, owner, lease_ms, ended[1])[1]
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

local function oldest(lanes)
  local first, best = nil, nil
  for _, lane in ipairs(lanes) do
    local group = redis.call('XINFO', 'GROUPS', line_key(lane))[1]
    local delivered
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
    end
    local entry = redis.call('XRANGE', line_key(lane), '(' .. delivered, '+', 'COUNT', 1)[1]
    if entry and (not first or older(entry[1], first)) then first, best = entry[1], lane end
  end
  return best
end

-- One order for all lanes: streams number theirs apart, within a millisecond and where the clock goes back.
local function place()
  local ms, n = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), 0
  local last_ms, last_n = string.match(redis.call('GET', P .. 'place') or '', '(%d+)-(%d+)')
  if last_ms and tonumber(last_ms) >= ms then ms, n = tonumber(last_ms), tonumber(last_n) + 1 end
  local id = string.format('%.0f-%.0f', ms, n)
  redis.call('SET', P .. 'place', id)
  return id
end

local T = {}

function T.submit(id, lane, body, deadline, once, question, caller, depth, ...)
  expire(...)
  if redis.call('EXISTS', job_key(id)) == 1 then return {'accepted', id} end
  if once ~= '' then
    local known = redis.call('GET', P .. 'once:' .. once)
    if known then
      local same = redis.call('HGET', job_key(known), 'question') == question
      return {same and 'accepted' or 'reused', known}
    end
  end
  local waiting = redis.call('ZCARD', P .. 'open')
  if waiting >= tonumber(depth) then return {'full', tostring(waiting)} end
  if redis.call('SADD', P .. 'lanes', lane) == 1 then
    redis.call('XGROUP', 'CREATE', line_key(lane), GROUP, '0', 'MKSTREAM')
  end
  local entry = redis.call('XADD', line_key(lane), place(), 'id', id)
  redis.call('HSET', job_key(id), 'status', 'queued', 'progress', '0', 'deliveries', '0', 'body', body, 'lane', lane,
    'entry', entry, 'once', once, 'question', question, 'caller', caller)
  redis.call('ZADD', P .. 'open', deadline, id)
  if once ~= '' then redis.call('SET', P .. 'once:' .. once, id) end
  redis.call('XADD', P .. 'bell', 'MAXLEN', 1, '*', 'id', id)
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

-- Gives the bell as it was, so that what comes after this look is heard.
function T.take(owner, digests, kept_out, limit, lease_ms, most, lost, keep_s, ...)
  expire(keep_s, ...)
  local bell = redis.call('XREVRANGE', P .. 'bell', '+', '-', 'COUNT', 1)[1]
  local heard = bell and bell[1] or '0-0'
  local lanes = mine(digests, kept_out)
  local leases = reclaim(owner, lanes, lease_ms, keep_s, tonumber(most), lost)
  if #leases > 0 then return {heard, leases} end
  local lane = oldest(mine(digests, kept_out))
  if not lane then return {heard, {}} end
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, owner, 'COUNT', limit, 'STREAMS', line_key(lane), '>')
  for _, entry in ipairs(read[1][2]) do leases[#leases + 1] = lease(owner, entry[2][2]) end
  return {heard, leases}
end

function T.finish(owner, id, fence, status, field, value, keep_s, figures)
  if not holds(owner, id, fence) then return 0 end
  final(id, status, keep_s, field, value, 'progress', '1')
  if figures ~= '' then
    redis.call('XADD', P .. 'figures', 'MAXLEN', MOST_FIGURES, '*', 'of', figures)
    redis.call('EXPIRE', P .. 'figures', keep_s)
  end
  return 1
end

function T.figures()
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', P .. 'figures', '-', '+')) do found[#found + 1] = entry[2][2] end
  redis.call('DEL', P .. 'figures')
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
  redis.call('XADD', P .. 'bell', 'MAXLEN', 1, '*', 'id', owner)
end

return T[ARGV[1]](unpack(ARGV, 2))
