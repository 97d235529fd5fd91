"""Measures whether pictures show what their prompts say: a judge, TIFA's scores, the results."""
