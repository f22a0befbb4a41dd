"""The stratum below every feature: the request context, the pipeline, problems, routes and the plug-in protocol.

Nothing here knows a feature; features reach each other only through what is defined here.
"""
