-- wrk: POST /v1/verify, each key of the file $KEYS in turn, or batches of $BATCH. $ROOT is the caller's root key. With
-- $SCHEME the key is in the header instead: `Authorization: $SCHEME key`.
local requests, turn = {}, 0
local batch = tonumber(os.getenv("BATCH") or "1")

function init()
  local scheme = os.getenv("SCHEME")
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("ROOT") }
  local items = {}
  for key in io.lines(os.getenv("KEYS")) do
    if scheme then headers["Authorization"] = scheme .. " " .. key end
    items[#items + 1] = '{"key":"' .. key .. '"}'
    if batch == 1 then
      requests[#requests + 1] = wrk.format("POST", "/v1/verify", headers, items[1])
      items = {}
    elseif #items == batch then
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
