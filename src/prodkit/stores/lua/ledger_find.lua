-- ARGV: id.
-- Returns the hold, or nothing.
local hold = read(ARGV[1])
return hold and written(hold)
