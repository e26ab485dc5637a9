-- Reads the earliest records of some variables after given versions.
--
-- Request: now, names, the version of each, how many records, bytes of payloads. Answer: the floor; names and newest
-- versions, taking turns; the records; the payloads that are kept apart from them. Or nil: there is no session.

local now, names, after, limit, max_bytes = unpack(request)
local session = load(now)
if not session then
  return false
end

-- The next record of each variable that has one; the earliest of these is taken again and again.
local newest, nexts = {}, {}

local function advance(variable)
  variable.version = variable.version + 1
  if variable.version == variable.newest then
    variable.record = record_of(variable.head)
  elseif variable.version < variable.newest then
    variable.record = redis.call('HGET', HISTORY, ('%d:'):format(variable.version) .. variable.name)
  else
    return false
  end
  variable.number = struct.unpack('<d', variable.record)
  return true
end

for place, head in ipairs(fetch(HEADS, names)) do
  if head then
    local version, oldest = struct.unpack(HEAD, head)
    newest[#newest + 1] = names[place]
    newest[#newest + 1] = version
    local variable = { name = names[place], newest = version, head = head }
    variable.version = math.max(after[place], oldest - 1)
    if advance(variable) then
      nexts[#nexts + 1] = variable
    end
  end
end

local records, bytes = {}, 0
while #nexts > 0 and (#records < limit or #records == 0) do
  local earliest = 1
  for place = 2, #nexts do
    if nexts[place].number < nexts[earliest].number then
      earliest = place
    end
  end
  local variable = nexts[earliest]
  local _, length = parse(variable.record)
  bytes = bytes + length
  if #records > 0 and bytes > max_bytes then
    break
  end
  records[#records + 1] = variable.record
  if not advance(variable) then
    table.remove(nexts, earliest)
  end
end
return { session.floor, newest, records, payloads_of(records, 0) }
