"""The types of arrays, where jaxtyping has no name for them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from jaxtyping import Array

AnyArray = Array | np.ndarray  # on a device or, before it is sent there, on the host
OneKind = TypeVar("OneKind", Array, np.ndarray)  # of functions that return what they are given
