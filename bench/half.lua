-- half.lua - mixed precision: steps in float32 and with autocast to bfloat16, ours and PyTorch's, all four by turns.
--   slugnet bench/half.lua [--threads 1,2] [--rounds 3] [--seconds 0.3] [--python PATH] [--out FILE] [--docs] [WORKLOAD...]
-- Adds to the file of results.
local sides = dofile "bench/sides.lua"
local results = dofile "bench/results.lua"

local opt, names = results.arguments(arg, { threads = "1,2", rounds = "3", seconds = "0.3", python = "build/venv/bin/python" })
opt.out = opt.out or (#names > 0 and "build/bench-some") or nil
if #names == 0 then names = { "resnet20", "mlp_wide", "conv_mnist", "char_gpt" } end
local have = sides.present(opt.python)
local rows = {}
for count in opt.threads:gmatch("%d+") do
  local open = {}
  for _, side in ipairs { "slugnet", "pytorch" } do
    for _, mode in ipairs { false, "bfloat16" } do
      if have[side] then open[#open + 1] = sides.open(side, { program = opt.program, python = opt.python, threads = math.tointeger(count), mode = mode or nil }) end
    end
  end
  for _, name in ipairs(names) do
    rows[#rows + 1] = sides.turns(open, name, tonumber(opt.rounds), tonumber(opt.seconds))
    print(results.line_of(rows[#rows]))
    io.stdout:flush()
  end
  sides.close(open)
end
results.update(opt, "half", { rounds = tonumber(opt.rounds), rows = rows })
print("written to " .. results.base(opt) .. ".md")
