"""The cloud's client: every operation of the Massed Compute VM API, and nothing that decides."""
