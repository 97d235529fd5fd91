"""``ragturbo playground``: a page on this machine where a person sees what retrieval does.

The page is gradio's, which comes with the extra ``playground`` and is imported when the command runs, never before.
"""
