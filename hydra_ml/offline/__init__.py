"""The stand-in LLM of the sample: an OpenAI-compatible application that needs no network, no key and no server."""
