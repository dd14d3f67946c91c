"""Serve runs over HTTP: the completions of OpenAI's shape, and lmkit's scores, fills and vectors.

Starlette and uvicorn, of the extra `serve`, are imported here and nowhere else.
"""
