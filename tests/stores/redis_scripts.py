"""Small scripts for the tests of the link to Redis."""

from __future__ import annotations

import hashlib

from prodkit.stores.redis_link import Script


def lua(text):
    return Script("test", text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ECHO = lua("return {KEYS[1], ARGV[1]}")
COUNT = lua("return redis.call('INCRBY', KEYS[1], ARGV[1])")
