"""
.. _l-plot-exporter-exporter-memory:

Export a model that does not fit into memory
============================================

.. answer::
   :cost: The weights are put into the program afterwards, from the checkpoint.

   The exporter needs the shapes of weights and not their values. Make model and example
   inputs under ``FakeTensorMode``. Fill the program before you save it: a program with
   fake weights can be saved, and all its weights are 0 when it is loaded.

   .. code-block:: diff

      -model, x = Model(), torch.rand(4, 8)
      +with FakeTensorMode():
      +    model, x = Model(), torch.rand(4, 8)
       program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
      +fill(program, checkpoint, {"scale": torch.arange(8.0)})

   Not your case?

   * The export is slow, and memory is not the problem:
     :ref:`l-plot-exporter-exporter-slow`.
   * Out of memory in AOTInductor or at run time: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: out of memory export, OOM, meta device, FakeTensorMode, fake weights,
      large language model export, init_empty_weights, load weights after export,
      torch.device meta, mmap, killed, expected torch.nn.Parameter for PARAMETER
"""

# %%
# The problem
# +++++++++++
#
# Without memory for the weights, the model is made on the device ``meta``. It exports.
# The program cannot be called, and the real weights do not help: ``meta`` is written
# into the program.

# sphinx_gallery_tags = ["start here", "how to", "wrong without an error", "run fails"]
# sphinx_gallery_wording = "torch.export out of memory"
# sphinx_gallery_wording = "torch.export.export killed, the model does not fit into RAM"
# sphinx_gallery_wording = "load real weights into a program exported with FakeTensorMode or meta device"
# sphinx_gallery_wording = "all weights are zero after torch.export.load"

import io
import pathlib
import tempfile

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


class Model(torch.nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.linear = torch.nn.Linear(size, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.arange(float(size)), persistent=False)

    def forward(self, x):
        row = torch.arange(x.shape[0], device=x.device)
        return self.scale * (self.linear(x) - self.mean) + row[:, None]


torch.manual_seed(0)
trained = Model()
trained.mean.normal_()
folder = tempfile.TemporaryDirectory()
path = pathlib.Path(folder.name, "weights.pt")
torch.save(trained.state_dict(), path)

dynamic = ({0: torch.export.Dim("batch", max=64)},)
with torch.device("meta"):
    model, x = Model(), torch.rand(4, 8)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
meta = program.module()
meta.load_state_dict(torch.load(path), assign=True)
meta.scale = torch.arange(8.0)
try:
    meta(torch.rand(2, 8))
except RuntimeError as error:
    print(error)

# %%
# Under ``FakeTensorMode``, the device is that of the real model. Saved without its
# weights, the program is silently wrong: all of them are 0 (PyTorch 2.6 and 2.7: fake).

with FakeTensorMode():
    model, x = Model(), torch.rand(4, 8)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
program.example_inputs = ((torch.rand(4, 8),), {})
