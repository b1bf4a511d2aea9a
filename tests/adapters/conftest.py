from __future__ import annotations

from tests.hub.conftest import runner

__all__ = ["runner"]
