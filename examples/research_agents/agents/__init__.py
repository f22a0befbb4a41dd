"""The five agents: for each, the tools it holds and how it goes about its work where no language model does.

Agno drives all of them. Which tool to call next and what to say is decided by a model: a language model if one is
configured, else `ExtractiveModel`, which asks the agent's `Conduct`.
"""
