-- Keeps a session. Request: session id, its owner, created_at, ttl, expires_at, incarnation, how many sessions there may
-- be, and what the key of its owner's sessions begins with; blob: the session as the host packed it. Answer: 1; 0 if it
-- is there; or the limit that is exceeded.

local session_id, owner, created_at, ttl, expires_at, incarnation, max_sessions, owners = unpack(request)
if redis.call('EXISTS', SESSION) == 1 then
  return 0
end
if redis.call('ZCARD', DUE) >= max_sessions then
  return 'max_sessions'
end
redis.call(
  'HSET', SESSION, 'session', blob(), 'owner', owner, 'ttl', ttl, 'expires_at', expires_at, 'incarnation', incarnation,
  'count', 0, 'floor', 0, 'bytes', 0, 'sequence', 0
)
redis.call('ZADD', DUE, expires_at, session_id)
redis.call('ZADD', owners .. owner, created_at, session_id)
return 1
