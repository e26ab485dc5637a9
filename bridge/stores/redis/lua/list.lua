-- Lists the newest sessions of an owner. Keys: a sorted set of their ids by when they were opened. Request: now, how
-- many, and what the keys of sessions begin with. Answer: snapshots without variables, newest first.

local now, limit, sessions = unpack(cmsgpack.unpack(ARGV[1]))

local found, page = {}, 100
for first = 0, math.huge, page do
  local ids = redis.call('ZREVRANGE', KEYS[1], first, first + page - 1)
  for _, session_id in ipairs(ids) do
    if #found >= limit then
      return found
    end
    local fields =
      redis.call('HMGET', sessions .. session_id, 'session', 'incarnation', 'expires_at', 'count', 'floor')
    if fields[3] and tonumber(fields[3]) > now then
      found[#found + 1] = { fields[1], fields[2], fields[3], tonumber(fields[4]), tonumber(fields[5]), {}, {} }
    end
  end
  if #ids < page then
    return found
  end
end
