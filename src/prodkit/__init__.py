"""prodkit makes a FastAPI service fit for production."""
