"""
.. _l-plot-exporter-ops-complex:

Export a model with FFT or complex numbers
==========================================

``aten._fft_r2c.default`` is not supported (2.6), the length of a signal becomes a
constant in ``istft`` or ``fftfreq``, or :func:`torch.export.save` ends with
``SerializeError ... Unsupported argument type: <class 'complex'>``.

This page shows what each release exports, how to find the complex tensors of a program,
and how to write the same computation with real numbers only.

.. meta::
   :description: Write the transform as a convolution with cosines and sines, or keep
      the FFT from 2.7 on and avoid 1j.
   :keywords: torch.stft, torch.istft, torch.fft.rfft, fftfreq, _fft_r2c, complex
      tensor, 1j, SerializeError complex, view_as_real, torch.polar, spectrogram
"""

# %%
# The model
# +++++++++
#
# A spectrogram: the signal is cut into frames, and each frame goes through an FFT.

# sphinx_gallery_tags = ["operators", "export fails", "conversion fails"]
# sphinx_gallery_wording = "unsupported operator: aten._fft_r2c.default"
# sphinx_gallery_wording = "unsupported operator: aten._fft_c2r.default"
# sphinx_gallery_wording = "No decompositions registered for the complex-valued input"
# sphinx_gallery_wording = "No ONNX function found for aten.stft, aten.istft"

import io

import torch
import torch._dynamo

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
SIZE, HOP = 16, 4


class Spectrogram(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(SIZE))

    def forward(self, x):
        spectrum = torch.stft(x, SIZE, HOP, window=self.window, return_complex=True)
        return spectrum.abs()


torch.manual_seed(0)
signal = torch.randn(3, 24)
batch = torch.export.Dim("batch", max=64)
length = torch.export.Dim("length", max=4096)
UNSUPPORTED = (
    torch._dynamo.exc.UserError,
    torch._subclasses.fake_tensor.UnsupportedOperatorException,
)

# %%
# The symptom
# +++++++++++
#
# On 2.6, there is no shape function for an FFT of a dynamic length. Since 2.7 there is
# one, and the range of the length is refused.

try:
    torch.export.export(
        Spectrogram(), (signal,), dynamic_shapes=({0: batch, 1: length},), strict=False
    )
except UNSUPPORTED as error:
    message = str(error)
else:
    message = "This release finds the range of the length by itself."
print(message.split("\n\n")[0])
if RELEASE < (2, 7):
    assert "aten._fft_r2c.default" in message, message
else:
    assert "Dim('length', min=9, max=4096)" in message, message

# %%
# The suggestion is right: ``stft`` reflects half a frame at each end, and a reflection
# needs more samples than it adds. With that minimum the export works since 2.7.

longer = torch.export.Dim("longer", min=SIZE // 2 + 1, max=4096)
both = ({0: batch, 1: longer},)
try:
    program = torch.export.export(
        Spectrogram(), (signal,), dynamic_shapes=both, strict=False
    )
except UNSUPPORTED as error:
    program = None
    print("refused:", str(error).splitlines()[0])
else:
    for size in [(1, 9), (2, 30), (5, 1001)]:
        x = torch.randn(size)
        torch.testing.assert_close(program.module()(x), Spectrogram()(x))
        print("batch and length", size, "same result")
assert (program is None) == (RELEASE < (2, 7))

# %%
# A length becomes a constant
# +++++++++++++++++++++++++++
#
# Two functions want the length as a number, on all releases: ``istft`` with
# ``length=``, which cuts the signal, and ``fftfreq``. With ``Dim.AUTO`` there is no
# error, and the dimension is a constant.


class Frequencies(torch.nn.Module):
    def forward(self, x):
        return x * torch.fft.fftfreq(x.shape[1])


class Filter(Spectrogram):
    def forward(self, x):
        spectrum = torch.stft(x, SIZE, HOP, window=self.window, return_complex=True)
        spectrum = spectrum * torch.linspace(1, 0, SIZE // 2 + 1)[:, None]
        return torch.istft(spectrum, SIZE, HOP, window=self.window, length=x.shape[1])


for model in (Frequencies(), Filter()):
    try:
        torch.export.export(model, (signal,), dynamic_shapes=both, strict=False)
    except UNSUPPORTED as error:
        message = str(error).split("\n\n")[0].split(". If")[0]
    else:
        message = "This release keeps the length."
    print(f"{type(model).__name__}: {message.splitlines()[-1].strip()}")
    assert "constant (24)" in message or "longer = 24" in message or RELEASE < (2, 7)

# %%
# The cause: both declare the length as ``int``, and ``irfft`` declares it as
# ``SymInt``. An ``int`` in a graph is one number, a ``SymInt`` is a symbol or a number.

aten = torch.ops.aten
for operator in (aten.fft_fftfreq.default, aten.istft.default, aten.fft_irfft.default):
    symbolic = "SymInt" in str(operator._schema)
    print(f"{operator!s:26} length is", "SymInt" if symbolic else "int")
    assert symbolic == (operator is aten.fft_irfft.default)

# %%
# ``1j`` in a program that is saved
# +++++++++++++++++++++++++++++++++
#
# A phase is often written with ``1j``. The export works on all releases. Up to 2.8,
# a file had no way to hold a Python complex number
# (`issue 160749 <https://github.com/pytorch/pytorch/issues/160749>`_).


class Phase(torch.nn.Module):
    def forward(self, angle):
        return torch.view_as_real(torch.cos(angle) + 1j * torch.sin(angle))


program = torch.export.export(
    Phase(), (signal,), dynamic_shapes=({0: batch},), strict=False
)
try:
    torch.export.save(program, io.BytesIO())
except torch._export.serde.serialize.SerializeError as error:
    message = str(error).strip().splitlines()[-1]
else:
    message = "This release saves the complex number."
print(message)
assert ("Unsupported argument type" in message) == (RELEASE < (2, 9))

# %%
# :func:`torch.complex` and ``torch.polar`` make the same tensor from real ones. No
# Python number is left, and all releases save the program.


class PolarPhase(torch.nn.Module):
    def forward(self, angle):
        return torch.view_as_real(torch.polar(torch.ones_like(angle), angle))


buffer = io.BytesIO()
program = torch.export.export(
    PolarPhase(), (signal,), dynamic_shapes=({0: batch},), strict=False
)
torch.export.save(program, buffer)
buffer.seek(0)
loaded = torch.export.load(buffer).module()
for size in (1, 2, 50):
    x = torch.randn(size, 24)
    torch.testing.assert_close(loaded(x), Phase()(x))
print("saved, loaded, same results")

# %%
# Find the complex tensors
# ++++++++++++++++++++++++
#
# Many runtimes and converters have no complex numbers, and a decomposition does not
# take them away. This lists the nodes whose value is complex.


def complex_nodes(program):
    found = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.is_complex():
            found.append(str(node.target))
    return found


fixed = torch.export.export(Spectrogram(), (signal,), strict=False)
print("exported:  ", complex_nodes(fixed))
print("decomposed:", complex_nodes(fixed.run_decompositions()))
assert complex_nodes(fixed) and complex_nodes(fixed.run_decompositions())

# %%
# The fix: real numbers only
# ++++++++++++++++++++++++++
#
# A Fourier transform is a product with cosines and sines. For frames it is a
# convolution whose kernels are the cosines and sines times the window, and its stride
# is the hop. The inverse is the transposed convolution, divided by what the windows add
# up to.
#
# It works on all releases of this page, the lengths stay dynamic, and there is no
# complex number in the graph. The price: ``SIZE * SIZE`` products for each frame, where
# an FFT needs about ``SIZE * log(SIZE)``, and the kernels in memory.


class RealTransform(torch.nn.Module):
    def __init__(self):
        super().__init__()
        window = torch.hann_window(SIZE, dtype=torch.float64)
        k = torch.arange(SIZE // 2 + 1, dtype=torch.float64)[:, None]
        angle = 2 * torch.pi * k * torch.arange(SIZE) / SIZE
        analysis = torch.cat([torch.cos(angle), -torch.sin(angle)]) * window
        twice = torch.full_like(k, 2.0)
        twice[0] = twice[-1] = 1.0
        synthesis = analysis * torch.cat([twice, twice]) / SIZE
        self.register_buffer("analysis", analysis[:, None].float())
        self.register_buffer("synthesis", synthesis[:, None].float())
        self.register_buffer("square", (window**2)[None, None].float())

    def stft(self, x):
        half = SIZE // 2
        x = torch.nn.functional.pad(x[:, None], (half, half), mode="reflect")
        return torch.nn.functional.conv1d(x, self.analysis, stride=HOP).chunk(2, dim=1)

    def istft(self, real, imaginary, length):
        overlap = torch.nn.functional.conv_transpose1d
        spectrum = torch.cat([real, imaginary], dim=1)
        x = overlap(spectrum, self.synthesis, stride=HOP)
        total = overlap(torch.ones_like(real[:1, :1]), self.square, stride=HOP)
        kept = torch.arange(length, device=x.device) + SIZE // 2
        return (x.index_select(2, kept) / total.index_select(2, kept))[:, 0]


class RealSpectrogram(RealTransform):
    def forward(self, x):
        real, imaginary = self.stft(x)
        return torch.sqrt(real**2 + imaginary**2)


class RealFilter(RealTransform):
    def forward(self, x):
        gain = torch.linspace(1, 0, SIZE // 2 + 1)[:, None]
        real, imaginary = self.stft(x)
        return self.istft(real * gain, imaginary * gain, x.shape[1])


class RealFrequencies(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        k = torch.arange(n, device=x.device)
        return x * (torch.where(k < (n + 1) // 2, k, k - n) / n)


# %%
# The check
# +++++++++
#
# Against the functions of torch, for lengths that were not traced. The last of
# the lengths is the smallest that a reflection allows.

pairs = [(RealSpectrogram(), Spectrogram()), (RealFilter(), Filter())]
pairs.append((RealFrequencies(), Frequencies()))
for real, original in pairs:
    program = torch.export.export(real, (signal,), dynamic_shapes=both, strict=False)
    exported = program.module()
    assert not complex_nodes(program)
    for size in [(2, 30), (5, 1001), (1, 9)]:
        x = torch.randn(size)
        torch.testing.assert_close(exported(x), original(x), rtol=1e-4, atol=1e-4)
    print(f"{type(real).__name__}: same results")

# %%
# ``index_select`` is not a matter of taste: a slice up to ``length`` asks whether the
# tensor is that long, and the exporter then wants a multiple of the hop. See
# :ref:`l-plot-exporter-shapes-slices`. A signal that is too short is refused.

try:
    program = torch.export.export(
        RealSpectrogram(), (signal,), dynamic_shapes=both, strict=True
    )
    program.module()(torch.randn(2, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release accepts eight samples."
print(message)
assert "9" in message, message

# %%
# A converter that reports a missing translation for ``aten.stft``, ``aten.istft`` or a
# complex input can be given the real program instead, or a translation:
# :ref:`l-plot-exporter-onnx-missing-op`.
#
# To remember
# +++++++++++
#
# * Since 2.7, ``stft`` and ``rfft`` keep a dynamic length. Give it the minimum that the
#   message suggests.
# * ``istft`` with ``length=`` and ``fftfreq`` turn it into a constant.
# * ``torch.polar`` or ``torch.complex`` instead of ``1j``, if the program is saved by a
#   release before 2.9.
# * A convolution with cosines and sines works everywhere, and costs more.
#
# Next: :ref:`l-plot-exporter-after-save-load`,
# :ref:`l-plot-exporter-shapes-auto-dynamic-static` for dimensions that turn static, and
# :ref:`l-plot-exporter-ops-decompositions`.
