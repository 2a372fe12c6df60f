-- job_first.lua - a process from start to the end of its first training step: that of mlp_seed, eager.
local sn = require "slugnet"
local model = sn.Sequential(sn.Dense { 200, inshape = 784 }, sn.ReLU(), sn.Dense { 10 })
local optimizer = sn.RMSProp(model:parameters(), { lr = 0.001, rho = 0.9 })
local loss = sn.CrossEntropy()(model(sn.rand(32, 784)), sn.randint(1, 11, { 32 }))
loss:backward()
optimizer:step()
print(sn.io.json_encode { job = "first", system = "slugnet-" .. sn.version })
