-- Looks for what is over. Keys: the sorted set `due` of session.lua. Request: now, at about how many things to look,
-- and what the keys of sessions and of their expiring variables begin with. Answer: for each session in which something
-- is over, its id and the names of the variables; no names: the whole session.

local now, limit, sessions, expiring = unpack(cmsgpack.unpack(ARGV[1]))
local DUE = KEYS[1]

local found, seen = {}, 0
for _, session_id in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)) do
  if seen >= limit then
    break
  end
  local expires_at = tonumber(redis.call('HGET', sessions .. session_id, 'expires_at') or '')
  local over = {}
  if expires_at and expires_at > now then
    over = redis.call('ZRANGEBYSCORE', expiring .. session_id, '-inf', now)
  end
  seen = seen + 1 + #over
  if not expires_at then
    redis.call('ZREM', DUE, session_id)
  elseif expires_at <= now or #over > 0 then
    table.insert(over, 1, session_id)
    found[#found + 1] = over
  else
    -- It was used since, so it is put where it belongs. A server without memory to spare does that another time.
    local first = redis.call('ZRANGE', expiring .. session_id, 0, 0, 'WITHSCORES')[2]
    redis.pcall('ZADD', DUE, math.min(expires_at, tonumber(first) or expires_at), session_id)
  end
end
return found
