-- wrk sends a connection's next request after up to 40 ms: a load that leaves the processors time, so that what is measured is how long
-- requests take and not how long programs wait for a processor. wrk's clock starts when it sends.
local seeded = false

function delay()
  if not seeded then
    math.randomseed(os.time())
    seeded = true
  end
  return math.random(0, 40)
end
