"""
.. _l-plot-exporter-exporter-threads:

Export or load in threads: _CURRENT_DESERIALIZER is already set
===============================================================

.. answer::
   :cost: One export or load at a time; calls still run at the same time.

   Export, load and ``run_decompositions`` keep their state in globals, and two threads
   overwrite each other's. Put one lock around all of them. Do not call a model while it
   is exported: export a copy.

   .. code-block:: diff

      -    return torch.export.load(io.BytesIO(saved))
      +    with lock:
      +        return torch.export.load(io.BytesIO(saved)).module()

   Not your case?

   * ``fake tensor`` errors without threads: :ref:`l-plot-exporter-wrong-leaked`.
   * ``torch.export.load`` fails in one thread: :ref:`l-plot-exporter-after-save-load`.

.. meta::
   :keywords: thread safe, thread safety, threading, ThreadPoolExecutor, parallel,
      concurrent load, server, Trying to pop empty mode stack, multiprocessing,
      _EXPORT_MODULE_HIERARCHY must not be None, in_kernel_invocation must be False
"""

# %%
# The problem
# +++++++++++
#
# Two threads load a program at the same time. PyTorch 2.10 and earlier raise an
# ``AssertionError`` without a text.

# sphinx_gallery_tags = ["start here", "export fails", "run fails"]
# sphinx_gallery_wording = "torch.export.load is not thread safe"
# sphinx_gallery_wording = "torch.export.export in two threads at the same time"
# sphinx_gallery_wording = "export a model while it serves requests: fake_mode.in_kernel_invocation must be False"

import copy
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(100)])

    def forward(self, x):
        return self.layers(x)


torch.manual_seed(0)
model, other, x = Net(), Net(), torch.randn(4, 8)
shapes = ({0: torch.export.Dim("batch", max=64)},)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
file = io.BytesIO()
torch.export.save(program, file)
saved = file.getvalue()
start = threading.Barrier(2)


def load(saved):
    start.wait()  # both threads begin together
    return torch.export.load(io.BytesIO(saved))


with ThreadPoolExecutor(2) as pool:
    futures = [pool.submit(load, saved) for _ in range(2)]
errors = [future.exception() for future in futures]
for error in filter(None, errors):
    print(f"{type(error).__name__}: {error}")

# sphinx_gallery_start_ignore
assert any(errors)
# sphinx_gallery_end_ignore

# %%
# The fix
# +++++++

lock = threading.Lock()


def load_alone(saved):
    start.wait()
    with lock:
        return torch.export.load(io.BytesIO(saved)).module()


def export_alone(model):
    start.wait()
    with lock:
        program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
        return program.module()


with ThreadPoolExecutor(2) as pool:
    loaded = list(pool.map(load_alone, [saved, saved]))
    exported = list(pool.map(export_alone, [model, other]))

# %%
# Why it happens
# ++++++++++++++
#
# The loader in use is `one global of the module
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/serde/serialize.py#L2913>`_
# (`issue 195099 <https://github.com/pytorch/pytorch/issues/195099>`_). Threads are not
# the cause, only the same time is: one after the other, they load.

with ThreadPoolExecutor(1) as pool:
    for future in [pool.submit(torch.export.load, io.BytesIO(saved)) for _ in range(2)]:
        torch.testing.assert_close(future.result().module()(x), model(x))

# %%
# The export has more such state. What is raised depends on the moment:
#
# .. list-table::
#    :header-rows: 1
#
#    * - At the same time
#      - One of the messages
#    * - two loads
#      - ``_CURRENT_DESERIALIZER is already set``
#    * - two exports
#      - ``Trying to pop empty mode stack``, ``We found a fake tensor in the exported
#        program constant's list``, ``_EXPORT_MODULE_HIERARCHY must not be None``,
#        ``ProxyTorchDispatchMode slot already occupied``
#    * - two ``run_decompositions``
#      - ``AssertionError: False, True``, ``Trying to override a python impl``
#    * - an export, and calls of the same model
#      - ``fake_mode.in_kernel_invocation must be False``; or the call
#        returns a fake tensor, silently
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the exports have to run at the same time
#      - processes, started with ``spawn``; each saves its program
#      - each process imports torch
#    * - the model answers requests meanwhile
#      - export ``copy.deepcopy(model)``, as below
#      - memory for the copy
#    * - programs are called, and not made
#      - nothing, if they do not change a buffer
#      - none

done, answers = threading.Event(), []


def serve():
    while not answers or not done.is_set():
        answers.append(model(x))


with ThreadPoolExecutor(1) as pool:
    serving = pool.submit(serve)
    try:
        with lock:
            copied = torch.export.export(
                copy.deepcopy(model), (x,), dynamic_shapes=shapes, strict=False
            ).module()
    finally:
        done.set()
    serving.result()  # raises if a call failed

# %%
# Check
# +++++
#
# The references are the models, layer by layer. What was answered during the export is
# right, too.

expected = model(x)
assert all(torch.equal(answer, expected) for answer in answers)
pairs = [(run, model) for run in (*loaded, exported[0], copied)] + [
    (exported[1], other)
]
for run, original in pairs:
    for size in (1, 7, 64):
        new = expected = torch.randn(size, 8)
        for layer in original.layers:
            expected = expected @ layer.weight.T + layer.bias
        torch.testing.assert_close(run(new), expected)

# %%
# Eight threads call one program. 65 rows must be rejected.

inputs = [torch.randn(1 + i % 64, 8) for i in range(200)]
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(loaded[0], inputs))
for new, result in zip(inputs, results):
    torch.testing.assert_close(result, model(new))
try:
    loaded[0](torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * One lock for export, load and decompositions. Calls need none.
# * Never call the model that is being exported.
#
# Next: :ref:`l-plot-exporter-after-several-programs` for several programs in one file,
# :ref:`l-plot-exporter-exporter-slow` if the exports take too long.
