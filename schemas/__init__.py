"""The contracts: frozen pydantic models of every event and of what the events carry. Imports nothing of ours."""
