-- wrk: POST /v1/api_keys, or batches of $BATCH keys. $ROOT is the caller's root key.
local turn, headers, run
local batch = tonumber(os.getenv("BATCH") or "1")

function init()
  headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("ROOT") }
  turn, run = 0, os.getenv("RUN")
end

local function key()
  turn = turn + 1
  return '{"name":"production","subject":"user_' .. run .. "_" .. turn .. '"}'
end

function request()
  if batch == 1 then return wrk.format("POST", "/v1/api_keys", headers, key()) end
  local items = {}
  for place = 1, batch do items[place] = key() end
  return wrk.format("POST", "/v1/api_keys/batch", headers, '{"items":[' .. table.concat(items, ",") .. "]}")
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("@@ %f %d %d %d\n", summary.requests / summary.duration * 1e6, summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status, latency:percentile(99)))
end
