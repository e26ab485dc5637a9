-- Commits changes, if what they were decided on is still so.
--
-- Request: session id, channel, now, whether to renew; the incarnation, floor and count that were seen; names and the
-- tokens of their newest records, taking turns; the limits, as in Quota; the changes, each: name, version of its last
-- record, token, when it ends (0: not), and how many records. Blobs: of each record all but its number, and the payload
-- if that is kept apart. Answer: 1; 0 if the session is gone; the limit that is exceeded; or a snapshot if something is not as it was seen.

local session_id, channel, now, renews, incarnation, floor, count, seen, quota, changes = unpack(request)
local max_variables, max_bytes, history_entries, history_bytes = unpack(quota)

local session = load(now)
if not session then
  return 0
end

local names, tokens, heads = {}, {}, {}
for place = 1, #seen, 2 do
  names[#names + 1] = seen[place]
  tokens[#tokens + 1] = seen[place + 1]
end
local is_as_seen = session.incarnation == incarnation and session.floor == floor and session.count == count
for place, head in ipairs(fetch(HEADS, names)) do
  is_as_seen = is_as_seen and token_of(head) == tokens[place]
  heads[names[place]] = head
end
if not is_as_seen then
  if renews then
    renew(session, now)
  end
  return snapshot(session, names)
end

-- What is to be done is worked out first: nothing may be written before it is certain that all of it is.
local bytes, sequence, new_names = session.bytes, session.sequence, 0
local new_heads, new_past, old_past = {}, {}, {}
local expiring, not_expiring, earliest = {}, {}, nil
local references, payloads = {}, {}

local function refer(digest, number)
  if digest then
    references[digest] = (references[digest] or 0) + number
  end
end

local function field(version, name)
  return ('%d:'):format(version) .. name
end

for _, change in ipairs(changes) do
  local name, version, token, ends, added = unpack(change)
  local head = heads[name]
  local first = version - added + 1
  local oldest, past_bytes, past = first, 0, {}
  if head then
    local before = record_of(head)
    local size, _, flags = parse(before)
    oldest, past_bytes = select(2, struct.unpack(HEAD, head))
    past[first - 1] = before
    past_bytes = past_bytes + size
    count = count - (has(flags, GONE) and 0 or 1)
    if has(flags, ENDS) then
      not_expiring[#not_expiring + 1] = name
    end
  else
    new_names = new_names + 1
  end

  local record, size, flags, digest, _
  for place = 1, added do
    sequence = sequence + 1
    record = struct.pack('<d', sequence) .. blob()
    size, _, flags, digest = parse(record)
    bytes = bytes + size
    refer(digest, 1)
    if digest then
      payloads[digest] = blob()
    end
    if place < added then
      past[first + place - 1] = record
      past_bytes = past_bytes + size
    end
  end
  count = count + (has(flags, GONE) and 0 or 1)

  while oldest < version and (version - oldest > history_entries or past_bytes > history_bytes) do
    local dropped = past[oldest]
    if dropped then
      past[oldest] = nil
    else
      local old = field(oldest, name)
      dropped = redis.call('HGET', HISTORY, old)
      old_past[#old_past + 1] = old
    end
    size, _, _, digest = parse(dropped)
    past_bytes = past_bytes - size
    bytes = bytes - size
    refer(digest, -1)
    oldest = oldest + 1
  end
  for past_version, past_record in pairs(past) do
    new_past[#new_past + 1] = field(past_version, name)
    new_past[#new_past + 1] = past_record
  end
  new_heads[#new_heads + 1] = name
  new_heads[#new_heads + 1] = struct.pack(HEAD, version, oldest, past_bytes, token) .. record
  if ends > 0 then
    expiring[#expiring + 1] = ends
    expiring[#expiring + 1] = name
    earliest = math.min(ends, earliest or ends)
  end
end

local exceeded
if new_names > 0 and redis.call('HLEN', HEADS) + new_names > max_variables then
  exceeded = 'max_variables'
elseif bytes > session.bytes and bytes > max_bytes then
  exceeded = 'max_session_bytes'
end
if exceeded or #changes == 0 then
  if renews then
    renew(session, now)
  end
  return exceeded or 1
end

-- Who is woken reads after this script. Told first, so that a user who may not tell fails before anything is written.
redis.call('PUBLISH', channel, 'changed')
send('HSET', HEADS, new_heads)
send('HSET', HISTORY, new_past)
send('HDEL', HISTORY, old_past)
for digest, number in pairs(references) do
  local total = redis.call('HINCRBY', REFERENCES, digest, number)
  if total <= 0 then
    redis.call('HDEL', REFERENCES, digest)
    redis.call('HDEL', PAYLOADS, digest)
  elseif total == number then
    redis.call('HSET', PAYLOADS, digest, payloads[digest])
  end
end
send('ZREM', EXPIRING, not_expiring)
send('ZADD', EXPIRING, expiring)
if earliest then
  redis.call('ZADD', DUE, 'LT', earliest, session_id)
end
local expires_at = renews and math.max(session.expires_at, now + session.ttl) or session.expires_at
redis.call('HSET', SESSION, 'expires_at', expires_at, 'count', count, 'bytes', bytes, 'sequence', sequence)
return 1
