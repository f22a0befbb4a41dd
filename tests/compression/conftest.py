"""Servers on real sockets, as the tests of the examples have them."""

from tests.examples.conftest import serve

__all__ = ["serve"]
