-- Reads a session and some variables. Request: now, names (false: all), whether to renew. Answer: a snapshot, or nil.

local now, names, renews = unpack(request)
local session = load(now)
if not session then
  return false
end
if renews then
  renew(session, now)
end
return snapshot(session, names)
