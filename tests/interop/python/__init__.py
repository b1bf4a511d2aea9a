"""python-socketio's clients: ``python -m tests.interop.python asyncio|threads TRANSPORT URL``.

They run in a virtualenv of theirs, where this project is not installed.
"""
