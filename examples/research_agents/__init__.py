"""The reference application: research agents behind `harden()`, answering from real sources.

`python -m examples.research_agents.demo` starts it with nothing but this machine; `app.create_app` is what a server
imports. The agents run on Agno and reach their sources through the parallel-web SDK, either Parallel itself or the
local server of `local_parallel`, which speaks the same protocol over documents found on this machine.
"""

import os

# Agno reads this at run time and it wins over `Agent(telemetry=...)`; set before anything imports agno.
os.environ["AGNO_TELEMETRY"] = "false"
