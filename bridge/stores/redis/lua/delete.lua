-- Removes a session. Request: session id, channel, what listeners are told, only if it ends by (false: anyway), and
-- what the key of its owner's sessions begins with. Answer: whether it did.

local session_id, channel, signal, expired_by, owners = unpack(request)
local fields = redis.call('HMGET', SESSION, 'expires_at', 'owner')
if not fields[1] or (expired_by and tonumber(fields[1]) > expired_by) then
  return 0
end
redis.call('PUBLISH', channel, signal)
redis.call('UNLINK', SESSION, HEADS, HISTORY, PAYLOADS, REFERENCES, EXPIRING)
redis.call('ZREM', DUE, session_id)
redis.call('ZREM', owners .. fields[2], session_id)
return 1
