-- What Envoy's Lua filter can do of the jobs that its native filters leave: the same sticky split (first 8 bytes of
-- SHA-256("flag:key")), the consumer's groups, a flat price, a daily budget (in this worker only: Lua shares nothing), the
-- headers of both, and the fields for the access log. Of the two native limits it makes the RateLimit headers that they do not
-- send. It has no metrics of its own, and no exact budget.
local bit = require("bit")
local band, bxor, bnot, ror, rshift, tobit = bit.band, bit.bxor, bit.bnot, bit.ror, bit.rshift, bit.tobit

local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

-- The first word of SHA-256 of a message of at most 55 bytes (FIPS 180-4).
local function sha256_first_word(text)
  local w, length = {}, #text
  text = text .. "\128" .. string.rep("\0", 55 - length)
  for i = 0, 13 do
    local a, b, c, d = string.byte(text, i * 4 + 1, i * 4 + 4)
    w[i] = tobit(a * 16777216 + b * 65536 + c * 256 + d)
  end
  w[14], w[15] = 0, length * 8
  for i = 16, 63 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  local a, b, c, d = 0x6a09e667, tobit(0xbb67ae85), 0x3c6ef372, tobit(0xa54ff53a)
  local e, f, g, h = 0x510e527f, tobit(0x9b05688c), 0x1f83d9ab, 0x5be0cd19
  for i = 0, 63 do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local t1 = tobit(h + s1 + bxor(band(e, f), band(bnot(e), g)) + tobit(K[i + 1]) + w[i])
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local t2 = tobit(s0 + bxor(band(a, b), band(a, c), band(b, c)))
    h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
  end
  return tobit(0x6a09e667 + a) % 4294967296
end

local GROUPS = { ["web-app"] = "gold" }
local POLICY = '"api-1m";q=1000000000;w=60, "api-1h";q=1000000000;w=3600'
local PRICE, DAILY = 0.0001, 1000000
local spent, day = {}, 0

function envoy_on_request(handle)
  local headers = handle:headers()
  local log = handle:streamInfo():dynamicMetadata()
  local consumer = headers:get("x-consumer-id") or ""
  headers:replace("x-consumer-groups", GROUPS[consumer] or "")
  local today = math.floor(os.time() / 86400)
  if today ~= day then
    spent, day = {}, today
  end
  local so_far = (spent[consumer] or 0) + PRICE
  if so_far > DAILY then
    handle:respond({ [":status"] = "402" }, "budget used up")
    return
  end
  spent[consumer] = so_far
  local word = sha256_first_word("checkout-v2:" .. (headers:get("x-user-id") or ""))
  local variant = math.floor(word * 10000 / 4294967296) < 9500 and "stable" or "canary"
  headers:replace("x-variant", variant)
  log:set("bench", "consumer", consumer)
  log:set("bench", "variant", variant)
  log:set("bench", "cost", "0.0001")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local log = handle:streamInfo():dynamicMetadata():get("bench")
  local consumer, cost = log and log.consumer or "", "0.0001"
  -- Failed answers are free, as they are by default in the gateway.
  if tonumber(headers:get(":status")) >= 400 and spent[consumer] then
    spent[consumer], cost = spent[consumer] - PRICE, "0"
  end
  headers:replace("x-request-cost", cost)
  headers:replace("x-budget-remaining", string.format("%.4f", DAILY - (spent[consumer] or 0)))
  -- The answer comes by the second bucket first.
  headers:replace("ratelimit-policy", POLICY)
  headers:replace("ratelimit", string.format('"api-1m";r=%s, "api-1h";r=%s',
    headers:getAtIndex("x-ratelimit-remaining", 1) or "", headers:getAtIndex("x-ratelimit-remaining", 0) or ""))
end
