-- wrk: POST /v1/verify/batch, a hundred keys of the file $KEYS in turn. $ROOT is the caller's root key.
local requests, turn = {}, 0

function init()
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("ROOT") }
  local items = {}
  for key in io.lines(os.getenv("KEYS")) do
    items[#items + 1] = '{"key":"' .. key .. '"}'
    if #items == 100 then
      local body = '{"items":[' .. table.concat(items, ",") .. "]}"
      requests[#requests + 1] = wrk.format("POST", "/v1/verify/batch", headers, body)
      items = {}
    end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("@@ %f %d %d %d\n", summary.requests / summary.duration * 1e6, summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status, latency:percentile(99)))
end
