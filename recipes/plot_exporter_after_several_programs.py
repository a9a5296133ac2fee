"""
.. _l-plot-exporter-after-several-programs:

Save several programs in one file, with their weights once
==========================================================

.. answer::
   :cost: A file that only your functions read.

   ``torch.export.save`` takes one program; a second call replaces the first, silently.
   ``package_pt2`` takes several, and stores shared weights once for each. Put the
   programs into a zip file without weights, and the weights beside them.

   .. code-block:: diff

      -torch.export.save(encode, file)
      -torch.export.save(decode, file)
      +save_programs(file, {"encode": encode, "decode": decode})
      +loaded = load_programs(file)

   Not your case?

   * ``KeyError: 'model'`` from ``torch.export.load``: see *Other fixes*.
   * One program cannot be saved: :ref:`l-plot-exporter-after-save-load`.
   * How to export two methods: :ref:`l-plot-exporter-modules-method`.

.. meta::
   :keywords: multiple programs one file, package_pt2, load_pt2, pt2_archive, shared
      weights, encoder and decoder, prefill and decode, KeyError model,
      PT2ArchiveReader, several methods, external weights, externalize_weights
"""

# %%
# The problem
# +++++++++++
#
# Encoder and decoder use one table of embeddings. The file has room for one program.

# sphinx_gallery_tags = ["after the export", "how to", "wrong without an error", "run fails"]
# sphinx_gallery_wording = "save multiple exported programs in one pt2 file"
# sphinx_gallery_wording = "prefill and decode programs share weights"
# sphinx_gallery_wording = "torch.export.save overwrites the first program"
# sphinx_gallery_wording = "torch.export.load: KeyError: 'model'"
# sphinx_gallery_wording = "torch.export: save the weights in a file of their own, externalize_weights"

import io
import zipfile

import torch
from torch.export import Dim


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(1000, 64)
        self.register_buffer("scale", torch.tensor(0.125))


class Encode(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model.table(ids).mean(dim=1)


class Decode(Encode):
    def forward(self, x):
        return x @ self.model.table.weight.T * self.model.scale


torch.manual_seed(0)
model = Tied()
ids, x = torch.randint(0, 1000, (3, 5)), torch.randn(3, 64)
shapes = ({0: Dim("batch", max=64)},)
encode = torch.export.export(Encode(model), (ids,), dynamic_shapes=shapes, strict=False)
decode = torch.export.export(Decode(model), (x,), dynamic_shapes=shapes, strict=False)

file = io.BytesIO()
torch.export.save(encode, file)
torch.export.save(decode, file)
file.seek(0)
only = torch.export.load(file).module()
print("is the decoder:", torch.equal(only(x), Decode(model)(x)))
assert torch.equal(only(x), Decode(model)(x))

# %%
# The fix
# +++++++
#
# A program is saved with a number in the place of each weight. Weights of one name must
# be one tensor, so export all programs from one model, under one name.


def save_programs(file, programs):
    weights = {}
    with zipfile.ZipFile(file, "w") as archive:
        for name, program in programs.items():
            own, light = dict(program.state_dict), io.BytesIO()
            for key, tensor in own.items():
                if weights.setdefault(key, tensor) is not tensor:
                    raise ValueError(f"two different weights are called {key}")
            small = {key: type(tensor)(torch.zeros(1)) for key, tensor in own.items()}
            program.state_dict.update(small)
            torch.export.save(program, light)
            program.state_dict.update(own)
            archive.writestr(f"{name}.pt2", light.getvalue())
        data = io.BytesIO()
        torch.save(weights, data)
        archive.writestr("weights.pt", data.getvalue())


def load_programs(file):
    programs = {}
    with zipfile.ZipFile(file) as archive:
        weights = torch.load(io.BytesIO(archive.read("weights.pt")))
        for name in archive.namelist():
            if name.endswith(".pt2"):
                program = torch.export.load(io.BytesIO(archive.read(name)))
                own = {key: weights[key] for key in program.state_dict}
                program.state_dict.update(own)
                programs[name[:-4]] = program
    return programs


file = io.BytesIO()
save_programs(file, {"encode": encode, "decode": decode})
loaded = load_programs(file)
print({name: len(program.state_dict) for name, program in loaded.items()})

# %%
# Why it happens
# ++++++++++++++
#
# ``save`` `writes an archive
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L276>`_ with one
# program, called ``model``. Archives hold the `weights of each program
# <https://github.com/pytorch/pytorch/pull/160220>`_ by design, even if the programs share
# them in memory: the file of two programs has twice the size.

name = "model.table.weight"
assert encode.state_dict[name] is decode.state_dict[name]
one, two = io.BytesIO(), io.BytesIO()
save_programs(one, {"encode": encode})
save_programs(two, {"encode": encode, "decode": decode})
plain = io.BytesIO()
torch.export.save(encode, plain)
for label, saved in (("one", one), ("two", two), ("save of one", plain)):
    print(f"{label}: {len(saved.getvalue()) / 256000:.1f} times the table")

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the weights are small, or not shared
#      - ``package_pt2`` and ``load_pt2``, PyTorch 2.8 and later, as below
#      - private functions; shared weights are stored and loaded for each program
#    * - the programs have different weights
#      - one zip file of several ``.pt2`` files, without ``weights.pt``
#      - none
#    * - the weights have a file of their own (`issue 167623
#        <https://github.com/pytorch/pytorch/issues/167623>`_)
#      - ``program.state_dict.update``, as in ``load_programs``
#      - none
#
# ``torch.export.load`` looks for the program ``model``. ``load_pt2`` returns all.

try:
    from torch.export.pt2_archive import PT2ArchiveReader
    from torch.export.pt2_archive._package import load_pt2, package_pt2
except ImportError:  # PyTorch 2.6 and 2.7
    pass
else:
    package = io.BytesIO()
    package_pt2(package, exported_programs={"encode": encode, "decode": decode})
    print(f"package: {len(package.getvalue()) / 256000:.1f} times the table")
    package.seek(0)
    try:
        torch.export.load(package)
    except KeyError as error:
        print("KeyError:", error)
    package.seek(0)
    names = PT2ArchiveReader(package).get_file_names()
    print([name for name in names if name.startswith("models/")])
    package.seek(0)
    pair = load_pt2(package).exported_programs
    tables = [program.state_dict[name] for program in pair.values()]
    print("one table:", tables[0].data_ptr() == tables[1].data_ptr())
    torch.testing.assert_close(pair["decode"].module()(x), Decode(model)(x))

# %%
# Check
# +++++
#
# The references are the two halves of the model, at sizes that were not traced. The
# saved programs still have their weights.

encoder, decoder = loaded["encode"].module(), loaded["decode"].module()
for size in (1, 7, 64):
    ids, x = torch.randint(0, 1000, (size, 5)), torch.randn(size, 64)
    for run in (encoder, encode.module()):
        torch.testing.assert_close(run(ids), model.table.weight[ids].sum(dim=1) / 5)
    for run in (decoder, decode.module()):
        torch.testing.assert_close(run(x), torch.matmul(x, model.table.weight.T) / 8)
try:
    decoder(torch.randn(65, 64))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The loaded programs share the weights: a change through one is seen by the other.

assert encoder.model.table.weight is decoder.model.table.weight
with torch.no_grad():
    encoder.model.table.weight.mul_(2)
torch.testing.assert_close(decoder(x), 2 * Decode(model)(x))

# %%
# Two models with equal names of weights do not fit into one file.

other = torch.export.export(Decode(Tied()), (x,), dynamic_shapes=shapes, strict=False)
try:
    save_programs(io.BytesIO(), {"decode": decode, "other": other})
except ValueError as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Each program stores its own constants and buffers with ``persistent=False``. A single
# ``.pt2`` of the file loads without an error, and without weights.
#
# Summary
# +++++++
#
# * One call of ``save``, one program. ``KeyError: 'model'``: the file has others.
# * Weights are shared in memory after the export, and not after saving.
#
# Next: :ref:`l-plot-exporter-after-save-load` for what cannot be saved,
# :ref:`l-plot-exporter-models-encoder-decoder` for a model with two programs,
# :ref:`l-plot-exporter-after-move` for other weights.
