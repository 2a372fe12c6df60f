-- autograd.lua - teaches: tensors and gradients without a model. A line is fitted by hand, a gradient is checked against differences,
-- a derivative is taken twice, and an operation is written in Lua.
local sn = require "slugnet"
local quick = os.getenv("SLUGNET_QUICK") == "1"

-- Gradient descent on y = 3x - 2 with a little noise.
sn.manual_seed(1)
local x = sn.rand(100, 1)
local y = x * 3 - 2 + sn.randn(100, 1) * 0.01
local w, b = sn.zeros(1, 1):requires_grad_(), sn.zeros(1):requires_grad_()
for _ = 1, quick and 1 or 500 do
  local loss = (x:matmul(w) + b - y):square():mean()
  loss:backward()
  do
    local _ <close> = sn.no_grad() -- the update itself is not part of what is differentiated
    w:sub_(w.grad * 0.5)
    b:sub_(b.grad * 0.5)
  end
  w.grad, b.grad = nil, nil
end
print(("y = %.3f x + %.3f"):format(w:item(), b:item()))

-- The same by an optimizer takes one line: sn.SGD({w, b}, {lr = 0.5}):step().

-- A gradient against central differences.
local v = sn.randn(4, { dtype = "float64" }):requires_grad_()
print("gradient of sum(v * tanh(v)) is right:", sn.gradcheck(function(t) return (t * t:tanh()):sum() end, { v }))

-- A derivative of a derivative: d²/dx² x³ = 6x.
local z = sn.tensor({ 2.0 }, { dtype = "float64" }):requires_grad_()
local first = sn.grad(z:pow(3):sum(), z, { create_graph = true })
local second = sn.grad(first:sum(), z)
print(("x = 2: first derivative of x^3 %g, second %g"):format(first:item(), second:item()))

-- An operation in Lua: forward computes, backward gives the gradient of every input.
local cube = sn.func {
  name = "cube",
  forward = function(ctx, a)
    ctx:save(a)
    return a * a * a
  end,
  backward = function(ctx, g)
    local a = ctx:saved()
    return g * a * a * 3
  end,
}
print("cube is right:", sn.gradcheck(function(t) return cube(t):sum() end, { v }))
