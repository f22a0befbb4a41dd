"""Processes of their own for the tests of what several share."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def script(source, *arguments, imports=""):
    """Start a process of its own that runs *imports* and *source*."""
    prelude = """
        import asyncio, os, signal, sys, time
        from prodkit.core.exceptions import StoreError
        from prodkit.stores import KeyRecord, Rate
        from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore
        from prodkit.testing import hit
    """
    code = textwrap.dedent(prelude) + imports + textwrap.dedent(source)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout_seconds=30):
    """What it printed, after it ended well."""
    output, _ = process.communicate(timeout=timeout_seconds)
    assert process.returncode == 0, output
    return output.split()
