-- bench.lua - our side of the comparison: what `slugnet bench` measures (lua/slugnet/bench.lua), one JSON line each, as pytorch.py prints them.
--   slugnet bench/bench.lua [--threads N] [--seconds S] [--mode eager|compile] [--profile ops|steps] [WORKLOAD...]
if not require("slugnet.bench").main { "--json", table.unpack(arg) } then os.exit(1) end
