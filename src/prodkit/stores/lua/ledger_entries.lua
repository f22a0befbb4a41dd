-- ARGV: the sequence after which to begin, the last to return or nothing for the last there is, since and until or nothing
-- twice, the most entries to look at, the most to return, what their attributes must be as JSON.
-- Returns the last sequence to return, the one that was looked at last, and of each entry found: its sequence, itself, and the
-- sequence of the entry that made it exact, if it was presumed, or 0.
local position = tonumber(ARGV[1])
local last = ARGV[2] ~= '' and tonumber(ARGV[2]) or whole(call('HGET', INDEX, 'last'), INDEX)
local since, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local looks, room = tonumber(ARGV[5]), tonumber(ARGV[6])
local where = {}
for name, value in pairs(cjson.decode(ARGV[7])) do
  where[#where + 1] = { name, value }
end

local function skips(block)
  if not since then
    return false
  end
  local span = call('HGET', INDEX, digits(block)) or foreign(INDEX)
  local earliest, latest = match(span, '^(%S+) (%S+)$')
  return tonumber(latest) < since or tonumber(earliest) >= limit
end

-- What is not asked for is not looked at: most of the time goes into cutting texts.
local function fits(text, at)
  if since and not (since <= at and at < limit) then
    return false
  end
  if #where > 0 then
    local attributes = cjson.decode(split(text).attributes)
    for _, pair in ipairs(where) do
      if (attributes[pair[1]] or '') ~= pair[2] then
        return false
      end
    end
  end
  return true
end

local answer = {}
while position < last and looks > 0 and room > 0 do
  local block = floor((position + 1) / BLOCK)
  local stop = math.min(last, (block + 1) * BLOCK - 1)
  if skips(block) then
    position, looks = stop, looks - 1
  else
    local some = call('XRANGE', ENTRIES, digits(position + 1) .. '-0', digits(stop) .. '-0', 'COUNT', looks)
    if #some == 0 then
      foreign(ENTRIES)
    end
    for _, row in ipairs(some) do
      local text = row[2][2]
      local kind, at = match(text, '^(%l+) %S+ (%S+) [01]\n')
      position, looks = tonumber(match(row[1], '^%d+')), looks - 1
      if fits(text, tonumber(at) or foreign(ENTRIES)) then
        local exact = '0'
        if kind == 'presumed' then
          exact = (read(cjson.decode('[' .. split(text).hold .. ']')[1]) or foreign(HOLDS)).exact
        end
        local size = #answer
        answer[size + 1], answer[size + 2], answer[size + 3] = digits(position), text, exact
        room = room - 1
        if room == 0 then
          break
        end
      end
    end
  end
end
return { digits(last), digits(position), answer }
