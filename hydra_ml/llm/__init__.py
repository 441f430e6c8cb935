"""The black-box LLM: what is asked of it, the client that asks, and the offline model embedded in the product.

Core code: the address, the key and the answer cache are handed in by `io.llm`.
"""
