-- Requests of many callers: each names one of KEYS in x-key, one after the other (KEYS_ORDER=each) or by chance.
local keys = tonumber(os.getenv("KEYS"))
local in_turn = os.getenv("KEYS_ORDER") == "each"
local next = tonumber(os.getenv("KEYS_FROM"))

request = function()
  if in_turn then
    next = next % keys + 1
  else
    next = math.random(keys)
  end
  return wrk.format(nil, nil, { ["x-key"] = "key-" .. next })
end

-- As wrk.lua ends, which knows where this is loaded from.
dofile(os.getenv("KEYS_REPORT"))
