"""What a user's function, an embedder or a native extension may raise, and must not cost anybody an answer."""

from __future__ import annotations

import asyncio

# The caller's own business: these go through. All others are trouble of ours, also such as derive from `BaseException`
# alone, as the panics of Rust extensions do.
PASSED_ON = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
