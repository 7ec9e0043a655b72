"""A language of quantile and interval tokens, and a GPT-2 that speaks it: the rival of `token_rival.py`."""
