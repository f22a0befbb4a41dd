"""A server that speaks Parallel's Search, Extract, Task and Chat protocols over documents found on this machine.

It retrieves, quotes, compares and checks by rules; it is no language model, and it does not reach the internet. The
agents use it through the real SDK, so that pointing `RESEARCH_PARALLEL_BASE_URL` at Parallel changes no line of code.
"""
