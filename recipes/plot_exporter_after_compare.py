"""
.. _l-plot-exporter-after-compare:

Find the first layer where the exported program differs
=======================================================

.. answer::
   :cost: One slow run; every intermediate value is kept in memory.

   The outputs alone do not say where a difference starts. Keep the value of every node
   with ``torch.fx.Interpreter`` and compare with what the submodules of the model
   return. The first that differs is the place. Copy ``first_difference`` from *The fix*.

   .. code-block:: diff

      -    torch.testing.assert_close(program.module()(x), model(x))
      +class Recorder(torch.fx.Interpreter):
      +    def run_node(self, node):
      +        value = super().run_node(node)
      +print(first_difference(program, model, x))

   Not your case?

   * Do the results differ at all? :ref:`l-plot-exporter-wrong-checklist`.
   * Each call returns something else: :ref:`l-plot-exporter-wrong-train-eval`.
   * The ONNX file differs, the program does not: :ref:`l-plot-exporter-onnx-validate`.

.. meta::
   :keywords: Tensor-likes are not close, accuracy drop after export, numerical
      discrepancy, intermediate outputs, torch.fx.Interpreter, nn_module_stack,
      from_node, debug exported program, forward hooks
"""

# %%
# The problem
# +++++++++++
#
# After the export, somebody lowers the temperature of one block, a Python number. The
# program keeps the old one.

# sphinx_gallery_tags = ["after the export", "wrong without an error"]
# sphinx_gallery_wording = "Tensor-likes are not close!"
# sphinx_gallery_wording = "exported program does not match eager, which layer is it"
# sphinx_gallery_wording = "accuracy is different after export"

import torch


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(8, 24)
        self.temperature = 1.0

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) / self.temperature
        return torch.softmax(scores, dim=-1) @ v


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = torch.nn.ModuleList(Attention() for _ in range(2))
        self.act = torch.nn.GELU()
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x):
        for attention in self.attention:
            x = self.norm(x + self.act(attention(x)))
        return x


torch.manual_seed(0)
model, x = Encoder().eval(), torch.randn(3, 5, 8)
dims = ({0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("n", max=64)},)
program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
model.attention[1].temperature = 0.25
try:
    torch.testing.assert_close(program.module()(x), model(x))
except AssertionError as error:
    print(error)
else:
    print("No difference.")

# %%
# The fix
# +++++++


class Recorder(torch.fx.Interpreter):
    def run_node(self, node):
        value = super().run_node(node)
        # A later node may change it in place.
        kept = value.detach().clone() if isinstance(value, torch.Tensor) else value
        self.values[node] = kept
        return value


def node_values(program, *args):
    recorder = Recorder(program.module())
    recorder.values = {}
    recorder.run(*args)
    return recorder.values


def module_outputs(model, *args):
    outputs, paths = [], {module: path for path, module in model.named_modules()}

    def keep(module, args, output):
        again = sum(path.partition("@")[0] == paths[module] for path, _ in outputs)
        path = paths[module] + (f"@{again}" if again else "")
        outputs.append((path, output))

    handles = [module.register_forward_hook(keep) for module in paths]
    model(*args)
    for handle in handles:
        handle.remove()
    return outputs


def close(value, expected):
    return torch.allclose(value, expected, rtol=1e-3, atol=1e-5, equal_nan=True)


def first_difference(program, model, *args):
    """Return the path of the submodule, and the lines of its forward."""
    values, last, lines = node_values(program, *args), {}, {}
    for node in values:
        stack = node.meta.get("nn_module_stack", {})
        if node.op != "call_function" or not stack:
            continue
        for key, (path, _) in stack.items():
            path = path + "".join(key.partition("@")[1:])
            last[path] = node
        trace = node.meta["stack_trace"].splitlines()
        line = [line.strip() for line in trace if line.strip(" ^~")][-1]
        lines.setdefault(path, {}).setdefault(line, []).append(node.name)
    for path, output in module_outputs(model, *args):
        if isinstance(output, torch.Tensor) and path in last:
            if not close(values[last[path]], output):
                found = [
                    f"{k}  <- {', '.join(v)}" for k, v in lines.get(path, {}).items()
                ]
                return "\n    ".join([path, *found])
    return "no difference"


print(first_difference(program, model, x))

# %%
# The first line is the submodule, the others are its own lines of ``forward`` and the
# nodes made from them. The fault is in one of these lines: here
# ``self.temperature`` (:ref:`l-plot-exporter-wrong-constants`). ``norm@1`` would be the
# second call of ``norm``.
#
# Why it happens
# ++++++++++++++
#
# Each node knows the modules that called it, outermost first, and the line. The last
# node of a module is what the module returns. Run ``program.module()``, which holds the
# parameters; in ``program.graph_module`` `they are inputs
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/graph_signature.py#L173>`_.

values = node_values(program, x)
div = next(node for node in values if node.target is torch.ops.aten.div.Tensor)
for path, kind in div.meta["nn_module_stack"].values():
    print(repr(path), kind)

# %%
# Other fixes
# +++++++++++
#
# **Compare node by node with a second export** of the model as it is now. If the
# second program is right, something that the model reads has changed since the first
# export, and the first node that differs reads it. If it is as wrong as the first, the trace
# is at fault: read the lines above. Cost: a second export; both graphs must have the
# same nodes.

again = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
torch.testing.assert_close(again.module()(x), model(x))
for (old, value), (new, expected) in zip(
    node_values(program, x).items(), node_values(again, x).items(), strict=True
):
    if isinstance(value, torch.Tensor) and not close(value, expected):
        print(old.name, old.args, "is now", new.name, new.args)
        break

# %%
# **Compare with the program before a pass.** ``from_node`` says which node a new one
# was made from; the last of several has its value. Here a table of decompositions
# replaces GELU by a cheaper function.


def cheap_gelu(x, approximate="none"):
    return x * torch.sigmoid(1.702 * x)


table = torch.export.default_decompositions()
table[torch.ops.aten.gelu.default] = cheap_gelu
lowered = again.run_decompositions(table)
before = {node.name: value for node, value in node_values(again, x).items()}
after = {node.name: value for node, value in node_values(lowered, x).items()}
pairs = {}
for node in lowered.graph.nodes:
    if node.op == "call_function" and node.meta.get("from_node"):
        pairs[node.meta["from_node"][-1].name] = node.name
for old, new in pairs.items():
    if isinstance(before.get(old), torch.Tensor) and not close(after[new], before[old]):
        print("first:", old, "->", new)
        break

# %%
# Check
# +++++
#
# Plant a fault in one place after the other, and look for it at other sizes.

for size in (1, 2, 9):
    for path, attribute, fault in (
        ("attention.0", "temperature", 0.5),
        ("attention.1", "temperature", 0.5),
        ("act", "approximate", "tanh"),
        ("norm", "eps", 0.1),
    ):
        healthy = Encoder().eval()
        exported = torch.export.export(healthy, (x,), dynamic_shapes=dims, strict=False)
        rows = 3 * torch.randn(size, 7, 8)
        assert first_difference(exported, healthy, rows) == "no difference"
        setattr(healthy.get_submodule(path), attribute, fault)
        assert first_difference(exported, healthy, rows).split()[0] == path
try:
    program.module()(torch.randn(65, 5, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# * Rounding differs, too, and grows slowly from node to node; a fault is a jump. If you
#   are not sure, export the model in ``float64``, which makes rounding disappear.
# * A submodule that returns a tuple is skipped, and one that returns something other
#   than its last operation is reported although it is right.
#
# Summary
# +++++++
#
# * Values: ``torch.fx.Interpreter`` on ``program.module()``. Module:
#   ``nn_module_stack``. Line: ``stack_trace``. Node before a pass: ``from_node``.
#
# Usual causes are :ref:`l-plot-exporter-wrong-constants` and
# :ref:`l-plot-exporter-wrong-state`. To change the node that you found:
# :ref:`l-plot-exporter-after-edit`.
