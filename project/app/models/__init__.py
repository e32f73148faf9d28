"""The shapes of the data: tables (tortoise) and bodies (pydantic)."""
