-- Delivery: which jobs a worker gets.

local function lease(owner, id)
  local key = job_key(id)
  local fence = redis.call('HINCRBY', key, 'deliveries', 1)
  redis.call('HSET', key, 'status', 'running', 'owner', owner)
  return {redis.call('HGET', key, 'body'), fence}
end

-- The batch keys of these manifests. excluded: a suffix of batch keys to leave out; '' leaves none out.
local function batch_keys_of(digests, excluded)
  local wanted, found = {}, {}
  for digest in string.gmatch(digests, '%S+') do wanted[digest] = true end
  for _, batch_key in ipairs(redis.call('SMEMBERS', P .. 'batch_keys')) do
    local out = excluded ~= '' and string.sub(batch_key, -#excluded) == excluded
    if wanted[string.match(batch_key, '^[^/]*')] and not out then found[#found + 1] = batch_key end
  end
  return found
end

-- One job whose lease has ended. It comes alone: if it ends the next worker too, no other job is lost with it.
local function reclaim(owner, batch_keys, lease_ms, keep_s, max_deliveries, lost)
  for _, batch_key in ipairs(batch_keys) do
    while redis.call('EXISTS', line_key(batch_key)) == 1 do
      local ended = redis.call('XPENDING', line_key(batch_key), GROUP, 'IDLE', lease_ms, '-', '+', 1)[1]
      if not ended then break end
      local entry = redis.call('XCLAIM', line_key(batch_key), GROUP, owner, lease_ms, ended[1])[1]
      local id = entry[2][2]
      if tonumber(redis.call('HGET', job_key(id), 'deliveries')) < max_deliveries then return {lease(owner, id)} end
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

-- The batch key of the job whose turn it is, and the job's place.
local function next_line(batch_keys)
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
  return best, first and string.match(first, '%d+')
end
