-- Between ledger.lua and the text of a verb that has one ARGV more than it says, the last: an entry that was exported. While that
-- is missing, or another one has its sequence, Redis has forgotten what was spent, and the verb returns {'behind', sequence of
-- that entry}.
do
  local sequence, kind, nano, at, hold = match(table.remove(ARGV), '^(%d+) (%l+) (%S+) (%S+)\n(.*)$')
  local found = call('XRANGE', ENTRIES, sequence .. '-0', sequence .. '-0')[1]
  local entry = found and split(found[2][2])
  if not entry or entry.kind ~= kind or entry.nano ~= nano or tonumber(entry.at) ~= tonumber(at)
    or cjson.decode('[' .. entry.hold .. ']')[1] ~= hold then
    return { 'behind', sequence }
  end
end
