"""Turn the data of a `Value` back into a live value, and a live value into data, on the host and in the user's kernel.

Child kernels do so too, and nothing of this package but the prelude is to be found in a sandbox: so the reader, and the
description of the formats, is prelude/decode.py.
"""

from __future__ import annotations

from .prelude.decode import Picture, PlotlyFigure
from .prelude.decode import decode as decode_answer
from .prelude.encode import encode
from .prelude.untagged import untagged

__all__ = ["Picture", "PlotlyFigure", "decode_answer", "encode", "untagged"]
