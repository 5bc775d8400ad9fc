"""Turn the data of a `Value` back into a live value, on the host and in the user's own kernel.

Child kernels read values too (what `rlm_query` returns), and nothing of this package but the prelude is to be found
in a sandbox: so the reader, and the description of the formats, is prelude/decode.py.
"""

from __future__ import annotations

from .prelude.decode import Picture, PlotlyFigure
from .prelude.decode import decode as decode_answer

__all__ = ["Picture", "PlotlyFigure", "decode_answer"]
