-- Drops the history of a session and the records of variables that are gone. Answer: nothing.

local fields = redis.call('HMGET', SESSION, 'bytes', 'floor')
if not fields[1] then
  return false
end
local bytes, floor = tonumber(fields[1]), tonumber(fields[2])
local references, old_heads, new_heads = {}, {}, {}

local function drop(record)
  local size, _, _, digest = parse(record)
  bytes = bytes - size
  if digest then
    references[digest] = (references[digest] or 0) + 1
  end
end

for _, record in ipairs(redis.call('HVALS', HISTORY)) do
  drop(record)
end
local heads = redis.call('HGETALL', HEADS)
for place = 1, #heads, 2 do
  local name, head = heads[place], heads[place + 1]
  local version, oldest, _, token = struct.unpack(HEAD, head)
  local record = record_of(head)
  local _, _, flags = parse(record)
  if has(flags, GONE) then
    floor = math.max(floor, version)
    old_heads[#old_heads + 1] = name
    drop(record)
  elseif oldest < version then
    new_heads[#new_heads + 1] = name
    new_heads[#new_heads + 1] = struct.pack(HEAD, version, version, 0, token) .. record
  end
end

-- What takes no memory comes first: a server without any left refuses the first command of a script that does, and
-- lets the rest pass.
redis.call('UNLINK', HISTORY)
send('HDEL', HEADS, old_heads)
for digest, number in pairs(references) do
  if redis.call('HINCRBY', REFERENCES, digest, -number) <= 0 then
    redis.call('HDEL', REFERENCES, digest)
    redis.call('HDEL', PAYLOADS, digest)
  end
end
send('HSET', HEADS, new_heads)
redis.call('HSET', SESSION, 'bytes', bytes, 'floor', floor)
return false
