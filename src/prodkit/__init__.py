"""prodkit makes a FastAPI service fit for production.

```python
from fastapi import FastAPI
from prodkit import harden

app = FastAPI()
kit = harden(app)
```
"""

from importlib.metadata import version

from prodkit.core.context import CurrentContext, CurrentPrincipal, RequestContext, context_of, current_context
from prodkit.core.exceptions import InstallationError, ProdkitError, SettingsError
from prodkit.core.identity import Principal
from prodkit.core.pipeline import Pipeline
from prodkit.core.problems import Problem, ProblemType
from prodkit.hardening import harden
from prodkit.installation import install, kit_of
from prodkit.settings import Settings

__all__ = [
    "CurrentContext",
    "CurrentPrincipal",
    "InstallationError",
    "Pipeline",
    "Principal",
    "Problem",
    "ProblemType",
    "ProdkitError",
    "RequestContext",
    "Settings",
    "SettingsError",
    "__version__",
    "context_of",
    "current_context",
    "harden",
    "install",
    "kit_of",
]

__version__ = version("fastapi-prodkit")
