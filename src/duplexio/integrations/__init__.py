"""What serves an engine: ASGI, uvicorn, and the files of the JavaScript client."""
