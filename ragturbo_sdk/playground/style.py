"""How the page looks. Colours are gradio's own variables, so that light and dark both work."""

from __future__ import annotations

# An error is said once, in a message; gradio would also stamp it on every field that was to be filled.
CSS = """
[data-testid="status-tracker"] .error, [data-testid="status-tracker"] .clear-status { display: none; }
.rt-header { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.rt-header b { font-size: 1.5rem; margin-right: 6px; }
.rt-header span { padding: 2px 10px; border: 1px solid var(--border-color-primary); border-radius: 999px;
  font-size: 0.85rem; color: var(--body-text-color-subdued); }
.rt-pair { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
.rt-picture { margin: 0; }
.rt-picture img, .rt-empty { width: 100%; aspect-ratio: 1; border-radius: 8px; display: block; }
.rt-empty { border: 2px dashed var(--border-color-primary); box-sizing: border-box; }
.rt-picture figcaption { display: flex; flex-wrap: wrap; gap: 4px 12px; padding-top: 6px; align-items: baseline; }
.rt-picture figcaption span, .rt-number, .rt-note { color: var(--body-text-color-subdued); font-size: 0.85rem; }
.rt-picture figcaption a { margin-left: auto; font-size: 0.85rem; }
.rt-title { margin: 4px 0 8px; font-size: 1rem; font-weight: 600; }
.rt-title small { font-weight: 400; color: var(--body-text-color-subdued); margin-left: 6px; }
.rt-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 12px; }
.rt-card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 8px;
  background: var(--block-background-fill); display: flex; flex-direction: column; }
.rt-card img { width: 100%; aspect-ratio: 1; border-radius: 6px; display: block; margin: 0 0 6px; }
.rt-caption { font-size: 0.9rem; line-height: 1.25; overflow-wrap: anywhere; flex: 1; padding-bottom: 4px; }
.rt-yours { background: var(--color-accent); color: white; border-radius: 999px; padding: 0 8px; font-size: 0.75rem; }
.rt-bar { height: 4px; border-radius: 2px; background: var(--border-color-primary); margin-top: 4px; }
.rt-bar i { display: block; height: 100%; border-radius: 2px; background: var(--color-accent); }
.rt-unused { opacity: 0.55; }
.rt-note code { white-space: nowrap; }
.rt-times { border-collapse: collapse; font-size: 0.85rem; min-width: 320px; }
.rt-times, .rt-times * { border: 0 !important; }
.rt-times th, .rt-times td { padding: 2px 24px 2px 0 !important; text-align: right;
  font-variant-numeric: tabular-nums; }
.rt-times th:first-child, .rt-times td:first-child { text-align: left; }
.rt-total td { font-weight: 600; border-top: 1px solid var(--border-color-primary) !important; }
"""
