"""
.. _l-plot-exporter-ops-complex:

Replace FFT and complex numbers with real arithmetic
====================================================

.. answer::
   :cost: ``SIZE * SIZE`` products for each frame, where an FFT needs
      ``SIZE * log(SIZE)``.

   PyTorch 2.6 cannot export an FFT of dynamic length, ``istft`` and ``fftfreq`` freeze
   the length in every release, and many backends have no complex numbers. A transform
   of frames is also a convolution with cosines and sines.

   .. code-block:: diff

      -        y = torch.stft(x, SIZE, HOP, window=self.window, return_complex=True)
      -        return y.abs()
      +        x = pad(x[:, None], (SIZE // 2, SIZE // 2), mode="reflect")
      +        real, imaginary = conv1d(x, self.kernels, stride=HOP).chunk(2, dim=1)
      +        return torch.sqrt(real**2 + imaginary**2)

   Not your case?

   * ``fftfreq``, ``istft``, ``1j``, rotary embeddings: see *Other fixes*.
   * ONNX lacks a different operator: :ref:`l-plot-exporter-onnx-missing-op`.
   * ``SerializeError`` without ``complex``: :ref:`l-plot-exporter-after-save-load`.

.. meta::
   :keywords: torch.stft, torch.istft, torch.fft.rfft, fftfreq, _fft_r2c, _fft_c2r,
      complex tensor, 1j, SerializeError complex, Unsupported argument type complex,
      view_as_real, view_as_complex, torch.polar, rotary embedding, spectrogram
"""

# %%
# The problem
# +++++++++++
#
# A spectrogram: the signal is cut into frames, and each goes through an FFT.

# sphinx_gallery_tags = ["operators", "export fails", "conversion fails"]
# sphinx_gallery_wording = "unsupported operator: aten._fft_r2c.default"
# sphinx_gallery_wording = "unsupported operator: aten._fft_c2r.default"
# sphinx_gallery_wording = "No decompositions registered for the complex-valued input"
# sphinx_gallery_wording = "No ONNX function found for aten.stft, aten.istft"

import io

import torch
from torch._export.serde.serialize import SerializeError
from torch._subclasses.fake_tensor import UnsupportedOperatorException
from torch.nn.functional import conv1d, conv_transpose1d, pad

SIZE, HOP = 16, 4


class Spectrogram(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(SIZE))

    def forward(self, x):
        y = torch.stft(x, SIZE, HOP, window=self.window, return_complex=True)
        return y.abs()


torch.manual_seed(0)
signal = torch.randn(3, 24)
batch = torch.export.Dim("batch", max=64)
length = torch.export.Dim("length", max=4096)
shapes = ({0: batch, 1: length},)
failures = (torch._dynamo.exc.UserError, UnsupportedOperatorException)
try:
    torch.export.export(Spectrogram(), (signal,), dynamic_shapes=shapes, strict=False)
except failures as error:
    print(error)

# %%
# Where torch suggests ``min=9``, follow it: ``stft`` reflects half a frame at each end,
# and a reflection needs more samples than it adds. The export then works, with complex
# tensors in the program.
#
# The fix
# +++++++
#
# The kernels are the cosines and sines, times the window; the stride is the hop.


class RealSpectrogram(torch.nn.Module):
    def __init__(self):
        super().__init__()
        k = torch.arange(SIZE // 2 + 1, dtype=torch.float64)[:, None]
        angle = 2 * torch.pi * k * torch.arange(SIZE) / SIZE
        window = torch.hann_window(SIZE, dtype=torch.float64)
        kernels = torch.cat([torch.cos(angle), -torch.sin(angle)]) * window
        self.register_buffer("kernels", kernels[:, None].float())

    def forward(self, x):
        x = pad(x[:, None], (SIZE // 2, SIZE // 2), mode="reflect")
        real, imaginary = conv1d(x, self.kernels, stride=HOP).chunk(2, dim=1)
        return torch.sqrt(real**2 + imaginary**2)


length = torch.export.Dim("length", min=SIZE // 2 + 1, max=4096)
shapes = ({0: batch, 1: length},)
program = torch.export.export(
    RealSpectrogram(), (signal,), dynamic_shapes=shapes, strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# These nodes have a complex value; a decomposition does not take them away.


def complex_nodes(program):
    values = [(str(n.target), n.meta.get("val")) for n in program.graph.nodes]
    tensors = [(name, v) for name, v in values if isinstance(v, torch.Tensor)]
    return [name for name, v in tensors if v.is_complex()]


fixed_length = torch.export.export(Spectrogram(), (signal,), strict=False)
print(complex_nodes(fixed_length))
print(complex_nodes(fixed_length.run_decompositions()))
assert complex_nodes(program) == []

# %%
# The operators ``istft`` and ``fftfreq`` declare the length as ``int`` and `not as
# SymInt
# <https://github.com/pytorch/pytorch/blob/v2.13.0/aten/src/ATen/native/native_functions.yaml#L5710>`_:
# one number. With ``Dim.AUTO`` the dimension becomes a constant silently.


class Filter(Spectrogram):
    def forward(self, x):
        y = torch.stft(x, SIZE, HOP, window=self.window, return_complex=True)
        y = y * torch.linspace(1, 0, SIZE // 2 + 1)[:, None]
        return torch.istft(y, SIZE, HOP, window=self.window, length=x.shape[1])


class Frequencies(torch.nn.Module):
    def forward(self, x):
        return x * torch.fft.fftfreq(x.shape[1])


for model in (Filter(), Frequencies()):
    try:
        torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
    except failures as error:
        print(str(error).split("\n\n")[0])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write instead
#      - Cost
#    * - ``torch.fft.fftfreq(n)``
#      - ``torch.arange`` (``RealFrequencies``)
#      - none
#    * - ``torch.istft(..., length=n)``
#      - a transposed convolution (``RealFilter``)
#      - more products
#    * - ``view_as_complex(x) * torch.polar(...)``, rotary embeddings
#      - ``a * cos - b * sin``, ``a * sin + b * cos`` (``RealRotation``)
#      - none
#    * - ``cos + 1j * sin``, saved by PyTorch 2.8 or earlier
#      - ``torch.polar(torch.ones_like(angle), angle)``
#      - still complex
#    * - ``torch.stft``, ``torch.fft.rfft``, PyTorch 2.7 or later
#      - nothing; only the minimum of the length
#      - still complex


class RealFrequencies(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        k = torch.arange(n, device=x.device)
        return x * (torch.where(k < (n + 1) // 2, k, k - n) / n)


class RealFilter(RealSpectrogram):
    def forward(self, x):
        half, n = SIZE // 2, x.shape[1]
        x = pad(x[:, None], (half, half), mode="reflect")
        real, imaginary = conv1d(x, self.kernels, stride=HOP).chunk(2, dim=1)
        gain = torch.linspace(1, 0, half + 1)[:, None]
        spectrum = torch.cat([real * gain, imaginary * gain], dim=1)
        twice = torch.full((half + 1, 1, 1), 2.0)
        twice[0] = twice[-1] = 1.0
        inverse = self.kernels * torch.cat([twice, twice]) / SIZE
        square = torch.hann_window(SIZE)[None, None] ** 2
        y = conv_transpose1d(spectrum, inverse, stride=HOP)
        total = conv_transpose1d(torch.ones_like(real[:1, :1]), square, stride=HOP)
        kept = torch.arange(n, device=x.device) + half
        return (y.index_select(2, kept) / total.index_select(2, kept))[:, 0]


class Rotation(torch.nn.Module):
    def forward(self, x, angle):
        turn = torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(torch.view_as_complex(x) * turn)


class RealRotation(torch.nn.Module):
    def forward(self, x, angle):
        (a, b), cos, sin = x.unbind(-1), angle.cos(), angle.sin()
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)


# %%
# ``index_select`` and not a slice: a slice up to ``n`` asks for a multiple of the hop
# (:ref:`l-plot-exporter-shapes-slices`). A program with ``1j`` `cannot be saved
# <https://github.com/pytorch/pytorch/issues/160749>`_ by PyTorch 2.8 and earlier:


class Phase(torch.nn.Module):
    def forward(self, angle):
        return torch.view_as_real(torch.cos(angle) + 1j * torch.sin(angle))


class PolarPhase(torch.nn.Module):
    def forward(self, angle):
        return torch.view_as_real(torch.polar(torch.ones_like(angle), angle))


phase = torch.export.export(Phase(), (signal,), strict=False)
try:
    torch.export.save(phase, io.BytesIO())
except SerializeError as error:
    print(str(error).strip().splitlines()[-1])
polar = torch.export.export(
    PolarPhase(), (signal,), dynamic_shapes=shapes, strict=False
)
torch.export.save(polar, io.BytesIO())

# %%
# Check
# +++++
#
# Against the functions of torch, at lengths that were not traced. Eight samples are too
# few for the reflection.

pairs = [(RealSpectrogram(), Spectrogram()), (RealFilter(), Filter())]
pairs.append((RealFrequencies(), Frequencies()))
for model, original in pairs:
    real = torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
    assert complex_nodes(real) == []
    for size in [(2, 30), (5, 1001), (1, 9)]:
        x = torch.randn(size)
        torch.testing.assert_close(real.module()(x), original(x), rtol=1e-4, atol=1e-4)
x, angle = torch.randn(3, 24, 2), torch.randn(3, 24)
rotation = torch.export.export(
    RealRotation(), (x, angle), dynamic_shapes=shapes * 2, strict=False
)
for size in [(1, 9), (2, 50)]:
    x, angle = torch.randn(*size, 2), torch.randn(size)
    torch.testing.assert_close(polar.module()(angle), Phase()(angle))
    torch.testing.assert_close(rotation.module()(x, angle), Rotation()(x, angle))
try:
    program.module()(torch.randn(2, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Cosines, sines and a convolution work everywhere and cost more than an FFT.
# * ``istft`` with ``length=`` and ``fftfreq`` freeze the length.
# * Next: dimensions that became constants
#   (:ref:`l-plot-exporter-shapes-auto-dynamic-static`), an operator that a backend does
#   not have (:ref:`l-plot-exporter-ops-decompositions`).
