"""A server that speaks Parallel's Search and Extract protocol over documents found on this machine.

It retrieves and quotes; it does not think and does not reach the internet. The agents use it through the real SDK, so
that pointing `RESEARCH_PARALLEL_BASE_URL` at Parallel changes no line of code.
"""
