"""The black-box LLM as its client sees it: what is asked, the budget, retries and failures.

Core code: the address, the key and the answer cache are handed in by `io.llm`.
"""
