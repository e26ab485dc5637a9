-- Stands before every script that works on one session.
--
-- What Redis keeps of a session, each under a key of its own:
--   session     hash: what the session is and how it stands (see load)
--   heads       hash, by name: the newest record of a variable, with HEAD before it
--   history     hash, by "version:name": the records before the newest
--   payloads    hash, by digest: payloads that are large enough to be kept once for all records that have them
--   references  hash, by digest: how many records have that payload
--   expiring    sorted set: names of variables that end by themselves, by when
--   due         sorted set for all sessions: when to look at one again, not later than anything in it ends
--
-- HEAD is: version of the record, version of the oldest record in the history (or its own), bytes of the history, and
-- a token that no other commit has. A record begins with RECORD: its number among all records of the session, the
-- bytes it counts for, those of its payload, and flags; then, with the flag APART, the digest of its payload. The rest
-- is the host's.
--
-- A script is given these keys, its request, packed by msgpack, and bytes that cannot be packed so, to be taken in
-- their order (see blob).

local SESSION, HEADS, HISTORY, PAYLOADS, REFERENCES, EXPIRING, DUE = unpack(KEYS)
local HEAD, RECORD = '<dddc24', '<dddB'
local GONE, APART, ENDS = 1, 2, 4

local request = cmsgpack.unpack(ARGV[1])
local taken = 1

local function blob()
  taken = taken + 1
  return ARGV[taken]
end

local function has(flags, flag)
  return bit.band(flags, flag) ~= 0
end

local function token_of(head)
  return head and head:sub(25, 48) or ''
end

local function record_of(head)
  return head:sub(49)
end

local function parse(record)
  local _, size, length, flags = struct.unpack(RECORD, record)
  return size, length, flags, has(flags, APART) and record:sub(26, 57) or nil
end

-- HMGET of any number of fields: a call takes no more than the stack of Lua holds.
local function fetch(key, fields)
  local found, count = {}, #fields
  for first = 1, count, 1000 do
    local part = redis.call('HMGET', key, unpack(fields, first, math.min(first + 999, count)))
    for place = 1, #part do
      found[first + place - 1] = part[place]
    end
  end
  return found
end

-- HSET, HDEL or UNLINK with any number of arguments after the key.
local function send(command, key, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end

-- How a session stands; nil if there is none or its time is over.
local function load(now)
  local fields = redis.call('HMGET', SESSION, 'expires_at', 'ttl', 'incarnation', 'count', 'floor', 'bytes', 'sequence')
  local expires_at = tonumber(fields[1] or '')
  if not expires_at or expires_at <= now then
    return nil
  end
  return {
    expires_at = expires_at,
    ttl = tonumber(fields[2]),
    incarnation = fields[3], -- no other session has it, not even one of this id
    count = tonumber(fields[4]), -- variables that are not gone
    floor = tonumber(fields[5]),
    bytes = tonumber(fields[6]), -- sizes of all records
    sequence = tonumber(fields[7]), -- records ever committed
  }
end

-- Lets a session live on. A server without memory to spare does not: to read must be possible still.
local function renew(session, now)
  local expires_at = now + session.ttl
  if expires_at > session.expires_at then
    local answer = redis.pcall('HSET', SESSION, 'expires_at', expires_at)
    if type(answer) == 'number' then
      session.expires_at = expires_at
    elseif not answer.err:find('OOM', 1, true) then
      error(answer.err, 0)
    end
  end
end

-- The payloads that are kept apart from these records, each once: digest, payload, digest, payload ...
local function payloads_of(records, offset)
  local digests, seen, answer = {}, {}, {}
  for _, record in ipairs(records) do
    if record then
      local flags = record:byte(offset + 25)
      local digest = has(flags, APART) and record:sub(offset + 26, offset + 57)
      if digest and not seen[digest] then
        seen[digest] = true
        digests[#digests + 1] = digest
      end
    end
  end
  for place, payload in ipairs(fetch(PAYLOADS, digests)) do
    answer[#answer + 1] = digests[place]
    answer[#answer + 1] = payload
  end
  return answer
end

-- A session and some of its variables (false: all) as hosts read it.
local function snapshot(session, names)
  local heads = names and fetch(HEADS, names) or redis.call('HVALS', HEADS)
  return {
    redis.call('HGET', SESSION, 'session'),
    session.incarnation,
    ('%.17g'):format(session.expires_at),
    session.count,
    session.floor,
    heads,
    payloads_of(heads, 48),
  }
end
